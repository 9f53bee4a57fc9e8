/** The PROXY protocol, versions 1 and 2. README.md beside this file is the manual. */
import { type Address, readAddress } from "../addresses.js";
import { HeaderStatus, type InvalidHeaderReason } from "./outcome.js";
import { ProxyHeaderReader } from "./reader.js";

export {
  encodeProxyLocal,
  encodeProxyV1,
  encodeProxyV2,
  MAX_PROXY_HEADER_LENGTH,
  type ProxyFacts,
} from "./encode.js";
export { LONGEST_HEADER } from "./layout.js";
export { HeaderStatus, INVALID_HEADER_REASONS, type InvalidHeaderReason } from "./outcome.js";
export { ProxyHeaderReader } from "./reader.js";

export type ParsedProxyHeader =
  | {
      readonly status: "done";
      readonly version: 1 | 2;
      /** Bytes of the header. */
      readonly length: number;
      /** The connection is the proxy's own. */
      readonly local: boolean;
      /** Both undefined if the header tells no addresses of TCP. */
      readonly source: Address | undefined;
      readonly destination: Address | undefined;
    }
  /** Wait until there are `needed` bytes in all, then parse all of them again. */
  | { readonly status: "partial"; readonly needed: number }
  | { readonly status: "none" }
  | { readonly status: "invalid"; readonly reason: InvalidHeaderReason };

/** Parses the header that `bytes` begin with. Never throws. */
export function parseProxyHeader(bytes: Uint8Array): ParsedProxyHeader {
  const reader = new ProxyHeaderReader();
  switch (reader.read(bytes, 0, bytes.length)) {
    case HeaderStatus.PARTIAL:
      return { status: "partial", needed: reader.needed };
    case HeaderStatus.NONE:
      return { status: "none" };
    case HeaderStatus.INVALID:
      return { status: "invalid", reason: reader.reason };
    default:
      return {
        status: "done",
        version: reader.version as 1 | 2,
        length: reader.length,
        local: reader.isLocal,
        source: reader.isTold ? readAddress(reader.source, 0) : undefined,
        destination: reader.isTold ? readAddress(reader.destination, 0) : undefined,
      };
  }
}
