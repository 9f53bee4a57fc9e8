/** A relay's status as operators see it: as text, and as metrics. */
import { describe, expect, test } from "vitest";
import { renderRelayStatus } from "../../../src/cli/status/relay.js";
import { renderRelayMetrics } from "../../../src/daemon/relay/metrics.js";
import type { RelayStatus } from "../../../src/daemon/relay/status.js";
import { relayCounterNames } from "../../../src/relay/counters.js";
import { targetStatNames } from "../../../src/relay/target-stats.js";
import { someRelayStatus } from "../../support/some-relay-status.js";

describe("as text", () => {
  const lines = renderRelayStatus(someRelayStatus(), 100);

  test("each target has a line, and what is behind it and ails it has one below", () => {
    const from = lines.findIndex((line) => line.startsWith("TARGET"));
    expect(lines.slice(from, from + 8).map((line) => line.replace(/ +/g, " ").trimEnd())).toEqual([
      "TARGET STATE ACTIVE TAKEN FAILED IN OUT",
      "app",
      " 10.0.0.1:8443 well 10 1234 0 2.0 KiB 5.0 MiB",
      " app.internal:443 RESTING 0 0 7 0 B 0 B",
      " [2001:db8::1]:443, 192.0.2.1:443; ETIMEDOUT",
      "gone",
      " gone.internal:443 UNRESOLVED 0 0 0 0 B 0 B",
      " the name has no address",
    ]);
  });

  test("what is wrong is in capitals: a worker that is stuck, a reload that failed", () => {
    expect(lines.join("\n")).toMatch(/^1 +STUCK/m);
    expect(lines.join("\n")).toContain("FAILED at ");
  });

  test("no line is wider than the terminal", () => {
    for (const width of [40, 80]) {
      const longest = Math.max(...renderRelayStatus(someRelayStatus(), width).map((line) => line.length));
      expect(longest).toBeLessThanOrEqual(width);
    }
  });
});

test("without something that is shown it is one of another version", () => {
  const whole = someRelayStatus();
  const { totals: _, ...target } = whole.backends[0]!.targets[0]!;
  const message = "the relay of version 1.2.3 tells its status otherwise: ask it with its own sni-handoff";
  for (const lacking of [{ backends: [{ name: "app", targets: [target] }] }, { process: {} }, { workers: undefined }]) {
    const status = { ...whole, ...lacking } as unknown as RelayStatus;
    expect(() => renderRelayStatus(status, 80)).toThrow(expect.objectContaining({ code: "ERR_CONTROL", message }));
  }
});

describe("as metrics", () => {
  test("every counter is there, with labels of configured names and known words only", async () => {
    const counters = Object.fromEntries(relayCounterNames.map((name, index) => [name, 1000 + index]));
    const { text } = await renderRelayMetrics(someRelayStatus(counters));
    const samples = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
    for (const value of Object.values(counters)) {
      expect(samples.filter((sample) => sample.endsWith(` ${value}`))).toHaveLength(1);
    }
    const perTarget = samples.filter((sample) => sample.includes('backend="app",target="10.0.0.1:8443"'));
    // Bytes in two directions are one metric; whether it is well is one more.
    expect(perTarget).toHaveLength(targetStatNames.length + 1);
    const labels = new Set(samples.flatMap((sample) => [...sample.matchAll(/(\w+)="/g)].map((match) => match[1]!)));
    expect([...labels].sort()).toEqual(["backend", "direction", "end", "node", "target", "version", "worker"]);
  });

  test("tell which target is well, and which worker answers", async () => {
    const { text } = await renderRelayMetrics(someRelayStatus());
    expect(text).toContain('sni_handoff_relay_target_well{backend="app",target="10.0.0.1:8443"} 1');
    expect(text).toContain('sni_handoff_relay_target_well{backend="gone",target="gone.internal:443"} 0');
    expect(text).toContain('sni_handoff_relay_worker_responsive{worker="1"} 0');
    expect(text).toContain("sni_handoff_relay_last_reload_successful 0");
  });
});
