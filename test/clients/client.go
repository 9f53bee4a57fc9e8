// One GET with Go's defaults, through crypto/tls or net/http; prints what was seen as JSON.
//
// Arguments: tls|http, address to dial, server name, file with the CA, path. The ClientHello is sent in two segments, as
// it is on a network whose segments are smaller than a post-quantum hello.
package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"time"
)

type seen struct {
	Go          string          `json:"go"`
	HelloBytes  int             `json:"helloBytes"`
	Client      string          `json:"client"`
	Tls         string          `json:"tls"`
	Alpn        string          `json:"alpn"`
	Http        string          `json:"http"`
	Fingerprint string          `json:"fingerprint"`
	Body        json.RawMessage `json:"body"`
}

// inTwo writes its first bytes, the hello, in two halves.
type inTwo struct {
	net.Conn
	helloBytes int
}

func (c *inTwo) Write(bytes []byte) (int, error) {
	if c.helloBytes > 0 {
		return c.Conn.Write(bytes)
	}
	c.helloBytes = len(bytes)
	half := len(bytes) / 2
	if written, err := c.Conn.Write(bytes[:half]); err != nil {
		return written, err
	}
	time.Sleep(20 * time.Millisecond) // so that the door may see the first half alone
	written, err := c.Conn.Write(bytes[half:])
	return half + written, err
}

func dial(address string) (*inTwo, error) {
	connection, err := net.Dial("tcp", address)
	return &inTwo{Conn: connection}, err
}

// report prints what was seen.
func report(connection *inTwo, state *tls.ConnectionState, response *http.Response) {
	body, err := io.ReadAll(response.Body)
	check(err)
	versions := map[uint16]string{tls.VersionTLS12: "TLSv1.2", tls.VersionTLS13: "TLSv1.3"}
	check(json.NewEncoder(os.Stdout).Encode(seen{
		Go:          runtime.Version(),
		HelloBytes:  connection.helloBytes,
		Client:      connection.LocalAddr().String(),
		Tls:         versions[state.Version],
		Alpn:        state.NegotiatedProtocol,
		Http:        response.Proto,
		Fingerprint: fmt.Sprintf("%x", sha256.Sum256(state.PeerCertificates[0].Raw)),
		Body:        body,
	}))
}

func throughTls(address string, roots *x509.CertPool, request *http.Request) {
	connection, err := dial(address)
	check(err)
	secure := tls.Client(connection, &tls.Config{ServerName: request.URL.Hostname(), RootCAs: roots})
	check(secure.Handshake())
	check(request.Write(secure))
	response, err := http.ReadResponse(bufio.NewReader(secure), request)
	check(err)
	state := secure.ConnectionState()
	report(connection, &state, response)
}

func throughHttp(address string, roots *x509.CertPool, request *http.Request) {
	var connection *inTwo
	client := http.Client{Transport: &http.Transport{
		ForceAttemptHTTP2: true,
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			var err error
			connection, err = dial(address)
			return connection, err
		},
	}}
	response, err := client.Do(request)
	check(err)
	report(connection, response.TLS, response)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	through, address, name, ca, path := os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5]
	pem, err := os.ReadFile(ca)
	check(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	request, err := http.NewRequest("GET", "https://"+name+path, nil)
	check(err)
	if through == "tls" {
		throughTls(address, roots, request)
	} else {
		throughHttp(address, roots, request)
	}
}
