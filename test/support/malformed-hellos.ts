/** A hello for each way to be malformed, otherwise right. */
import type { InvalidReason } from "../../src/tls/outcome.js";
import {
  buildHello,
  concat,
  extension,
  handshake,
  helloBody,
  messageOf,
  record,
  records,
  serverNameExtension,
  sslv2Hello,
  vector16,
} from "../tls/hello-builder.js";

const serverName = "app.test";
const message = messageOf(buildHello({ serverName }));
const inRecord = (body: Uint8Array) => records(handshake(1, body));

export const malformedHellos: Record<InvalidReason, Uint8Array> = {
  record_length: concat([22, 3, 1, 0x40, 0x01], message),
  zero_length_record: records(message, [40, 0, 100]),
  record_version: concat(record(22, message.subarray(0, 30)), record(22, message.subarray(30), 0x0201)),
  not_a_handshake: concat(record(22, message.subarray(0, 30)), record(23, message.subarray(30))),
  not_a_client_hello: records(handshake(2, helloBody({ serverName }))),
  handshake_after_hello: buildHello({ serverName, appendix: "behind" }),
  too_long: buildHello({ serverName, extensions: [extension(1000, new Uint8Array(17_000))] }),
  sslv2_length: sslv2Hello({ challenge: 15 }),
  legacy_version: buildHello({ serverName, legacyVersion: 0x0200 }),
  length_overruns_parent: inRecord(concat(helloBody({ withoutExtensions: true }), [0, 99], serverNameExtension("a"))),
  trailing_bytes: inRecord(concat(helloBody({ serverName }), [0])),
  session_id_length: buildHello({ serverName, sessionId: new Uint8Array(33) }),
  cipher_suites_length: buildHello({ serverName, cipherSuites: [] }),
  compression_methods_length: buildHello({ serverName, compressionMethods: [] }),
  duplicate_extension: buildHello({ serverName, extensions: [extension(1000), extension(1000)] }),
  empty_server_name: buildHello({ extensions: [extension(0, vector16())] }),
  duplicate_server_name: buildHello({ serverName: [{ name: serverName }, { name: "b.test" }] }),
  server_name_length: buildHello({ serverName: "a.".repeat(128) + serverName }),
  server_name_characters: buildHello({ serverName: `${serverName}\0` }),
  server_name_label: buildHello({ serverName: `.${serverName}` }),
  empty_alpn: buildHello({ serverName, extensions: [extension(16, vector16())] }),
  supported_versions_length: buildHello({ serverName, versions: [] }),
};
