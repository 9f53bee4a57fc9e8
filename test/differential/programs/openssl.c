/*
 * What OpenSSL's own server finds in ClientHellos. Standard input: hellos, each after its length in four bytes, highest
 * first. Standard output, a line for each:
 *
 *   accepts NAME ALPN   the servername callback was called. NAME in hexadecimal, "-" without one; ALPN: protocols in
 *                       hexadecimal between commas, "-" without any, "?" if OpenSSL refused before it would have told
 *   waits               more bytes are wanted
 *   refuses REASON      OpenSSL's own words
 *
 * Between words are tabs.
 */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct found {
  int is_accepted;
  int has_name;
  char name[256];
  int has_alpn;
  unsigned char alpn[65536];
  unsigned int alpn_length;
};

static void must(int is_done, const char *what) {
  if (is_done) return;
  fprintf(stderr, "cannot %s\n", what);
  ERR_print_errors_fp(stderr);
  exit(1);
}

/* Called once all extensions are parsed, whether there is a server_name or not: final_server_name() of ssl/statem/extensions.c. */
static int on_server_name(SSL *tls, int *alert, void *context) {
  (void)alert;
  (void)context;
  struct found *found = SSL_get_app_data(tls);
  const char *name = SSL_get_servername(tls, TLSEXT_NAMETYPE_host_name);
  found->is_accepted = 1;
  if (name != NULL) {
    found->has_name = 1;
    snprintf(found->name, sizeof found->name, "%s", name);
  }
  return SSL_TLSEXT_ERR_OK;
}

static int on_alpn(SSL *tls, const unsigned char **out, unsigned char *out_length, const unsigned char *in,
                   unsigned int length, void *context) {
  (void)out;
  (void)out_length;
  (void)context;
  struct found *found = SSL_get_app_data(tls);
  found->has_alpn = 1;
  found->alpn_length = length;
  memcpy(found->alpn, in, length);
  return SSL_TLSEXT_ERR_ALERT_FATAL; /* All is known: no key is to be used. */
}

static void use_key(SSL_CTX *context, EVP_PKEY *key) {
  X509 *certificate = X509_new();
  must(key != NULL && certificate != NULL, "make a key");
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
  X509_set_pubkey(certificate, key);
  must(X509_sign(certificate, key, EVP_sha256()) != 0, "sign a certificate");
  must(SSL_CTX_use_certificate(context, certificate) == 1 && SSL_CTX_use_PrivateKey(context, key) == 1, "use a key");
  X509_free(certificate);
  EVP_PKEY_free(key);
}

static SSL_CTX *make_context(void) {
  SSL_CTX *context = SSL_CTX_new(TLS_server_method());
  must(context != NULL, "make a context");
  SSL_CTX_set_security_level(context, 0);
  must(SSL_CTX_set_min_proto_version(context, SSL3_VERSION), "allow old versions");
  must(SSL_CTX_set_cipher_list(context, "ALL:COMPLEMENTOFALL"), "allow all ciphers");
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_tlsext_servername_callback(context, on_server_name);
  SSL_CTX_set_alpn_select_cb(context, on_alpn, NULL);
  use_key(context, EVP_EC_gen("P-256"));
  use_key(context, EVP_RSA_gen(1024)); /* Nobody trusts it: the shortest is the quickest. */
  return context;
}

static void print_hex(const unsigned char *bytes, size_t length) {
  for (size_t i = 0; i < length; i++) printf("%02x", bytes[i]);
}

static void print_found(const struct found *found, int is_answered) {
  printf("accepts\t");
  if (found->has_name) print_hex((const unsigned char *)found->name, strlen(found->name));
  else printf("-");
  printf("\t");
  if (!found->has_alpn) printf(is_answered ? "-" : "?");
  for (unsigned int at = 0; at < found->alpn_length; at += 1u + found->alpn[at]) {
    if (at > 0) printf(",");
    print_hex(found->alpn + at + 1, found->alpn[at]);
  }
  printf("\n");
}

static void answer(SSL_CTX *context, const unsigned char *hello, size_t length) {
  static struct found found;
  found.is_accepted = found.has_name = found.has_alpn = 0;
  found.alpn_length = 0;
  SSL *tls = SSL_new(context);
  BIO *in = BIO_new_mem_buf(hello, (int)length);
  BIO *out = BIO_new(BIO_s_mem());
  must(tls != NULL && in != NULL && out != NULL, "make a connection");
  BIO_set_mem_eof_return(in, -1); /* More may come. */
  SSL_set_bio(tls, in, out);
  SSL_set_app_data(tls, &found);
  ERR_clear_error();
  int error = SSL_get_error(tls, SSL_accept(tls));
  if (found.is_accepted) {
    char *sent = NULL;
    long sent_length = BIO_get_mem_data(out, &sent);
    print_found(&found, sent_length > 0 && sent[0] == SSL3_RT_HANDSHAKE);
  } else if (error == SSL_ERROR_WANT_READ) {
    printf("waits\n");
  } else {
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    printf("refuses\t%s\n", reason != NULL ? reason : "no reason given");
  }
  SSL_free(tls);
}

int main(void) {
  SSL_CTX *context = make_context();
  unsigned char *hello = NULL;
  unsigned char head[4];
  setvbuf(stdout, NULL, _IOLBF, 1 << 16);
  while (fread(head, sizeof head, 1, stdin) == 1) {
    size_t length = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
    hello = realloc(hello, length + 1);
    must(hello != NULL && fread(hello, 1, length, stdin) == length, "read a whole hello");
    answer(context, hello, length);
  }
  free(hello);
  SSL_CTX_free(context);
  return 0;
}
