import { type AddressInfo, createServer, type Server } from "node:net";
import { connect } from "node:tls";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ALERT_CODES, type AlertName, alertRecord, isAlertName } from "../../src/tls/alerts.js";
import { ALERT_BY_REASON, alertFor, INVALID_REASONS } from "../../src/tls/outcome.js";

test("an alert is one plaintext record: type, version, length, level, description (RFC 8446 §5.1, §6)", () => {
  expect([...alertRecord("unrecognized_name")]).toEqual([21, 3, 3, 0, 2, 2, 112]);
  expect([...alertRecord("decode_error")]).toEqual([21, 3, 3, 0, 2, 2, 50]);
  expect([...alertRecord("close_notify")]).toEqual([21, 3, 3, 0, 2, 1, 0]);
  for (const name of Object.keys(ALERT_CODES) as AlertName[]) {
    expect(alertRecord(name)).toHaveLength(7);
    expect(alertRecord(name)[6]).toBe(ALERT_CODES[name]);
  }
});

test("names of alerts are known from others", () => {
  expect(isAlertName("handshake_failure")).toBe(true);
  expect(isAlertName("toString")).toBe(false);
  expect(isAlertName("")).toBe(false);
});

test("every reason has an alert", () => {
  expect(INVALID_REASONS).toHaveLength(Object.keys(ALERT_BY_REASON).length);
  for (const reason of INVALID_REASONS) expect(isAlertName(alertFor(reason))).toBe(true);
});

describe("a real client", () => {
  let server: Server;
  let alert: AlertName;

  beforeAll(async () => {
    server = createServer((socket) => {
      socket.on("error", () => {});
      socket.once("data", () => socket.end(alertRecord(alert)));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  });
  afterAll(() => void server.close());

  test.each([...new Set<AlertName>([...Object.values(ALERT_BY_REASON), "handshake_failure", "access_denied"])])(
    "understands %s, whichever TLS version it is content with",
    async (name) => {
      alert = name;
      for (const maxVersion of ["TLSv1.3", "TLSv1.2"] as const) {
        const { port } = server.address() as AddressInfo;
        const error = await new Promise<NodeJS.ErrnoException>((resolve, reject) => {
          const socket = connect({ port, host: "127.0.0.1", servername: "a.example", maxVersion });
          socket.on("error", resolve);
          socket.on("secureConnect", () => reject(new Error("connected")));
        });
        expect(error.message).toContain(`SSL alert number ${ALERT_CODES[name]}`);
      }
    },
  );
});
