/** Hellos that every server answers, with the differences given. */
import { buildHello, Ext, extension, type HelloSpec, u16, vector8, vector16 } from "../tls/hello-builder.js";

const PSK_KEY_EXCHANGE_MODES = 45;
const X25519 = u16(0x001d);

export function served(spec: HelloSpec = {}): Uint8Array {
  const signatures = extension(Ext.signature_algorithms, vector16(...[0x0403, 0x0804, 0x0401].map(u16)));
  return buildHello({
    serverName: "app.example",
    versions: [0x0304, 0x0303],
    cipherSuites: [0x1301, 0xc02b, 0xc02f],
    ...spec,
    extensions: [
      extension(Ext.supported_groups, vector16(X25519)),
      // Any 32 bytes are a key (RFC 7748 §5).
      extension(Ext.key_share, vector16(X25519, vector16(new Uint8Array(32).fill(0x77)))),
      extension(PSK_KEY_EXCHANGE_MODES, vector8([1])),
      signatures,
      ...(spec.extensions ?? []),
    ],
  });
}
