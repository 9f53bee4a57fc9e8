import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { LoopLag } from "../../src/daemon/loop-lag.js";
import { type MetricsSource, renderMetrics } from "../../src/daemon/metrics.js";
import { counterNames } from "../../src/door/counters.js";
import { type Family, parseExposition } from "../support/exposition.js";
import { metricsSource } from "../support/metrics-source.js";
import { until } from "../support/wait.js";

async function families(source: MetricsSource = metricsSource()): Promise<Map<string, Family>> {
  return parseExposition((await renderMetrics(source)).text);
}

/** Values by their labels, in the order given: `backend=app,reason=rejected`. */
function values(family: Family | undefined): Record<string, number> {
  const text = (labels: object) => Object.entries(labels).map(([name, value]) => `${name}=${value}`);
  return Object.fromEntries(family!.samples.map(({ labels, value }) => [text(labels).join(), value]));
}

test("the text is in the exposition format, and its content type says so", async () => {
  const { contentType, text } = await renderMetrics(metricsSource());
  expect(contentType).toBe("text/plain; version=0.0.4; charset=utf-8");
  const all = parseExposition(text);
  expect(all.size).toBeGreaterThan(40);
  for (const [name, { type, help, samples }] of all) {
    expect(name).toMatch(/^(sni_handoff|process)_[a-z0-9_]+$/);
    expect(name.endsWith("_total"), name).toBe(type === "counter");
    expect(help, name).toMatch(/^.{5,}\.$/);
    expect(samples.length, name).toBeGreaterThan(0);
    for (const { value } of samples) expect(value, name).toBeGreaterThanOrEqual(0);
  }
});

test("refusals have their reason, and their backend where one was chosen", async () => {
  const refused = values((await families()).get("sni_handoff_refused_total"));
  expect(refused).toMatchObject({
    "reason=no_route,backend=": 100 + counterNames.indexOf("no_route"),
    "reason=hold_timeout,backend=app": 5,
    "reason=hold_full,backend=app": 6,
    "reason=rejected,backend=no": 8,
    "reason=rejected,backend=spare": 0,
    // What a door that does not count it has.
    "reason=rate_limited,backend=": expect.any(Number),
  });
});

test("counts of backends have the backend's name; instances their state, also those that none is in", async () => {
  const all = await families();
  expect(values(all.get("sni_handoff_handoffs_total"))).toEqual({ "backend=app": 1000, "backend=spare": 0 });
  expect(values(all.get("sni_handoff_lost_total"))).toEqual({ "backend=app": 2, "backend=spare": 0 });
  expect(values(all.get("sni_handoff_held_connections"))).toEqual({ "backend=app": 6, "backend=spare": 0 });
  expect(values(all.get("sni_handoff_backend_drained"))).toEqual({ "backend=app": 0, "backend=spare": 1 });
  expect(values(all.get("sni_handoff_instances"))).toMatchObject({
    "backend=app,state=ready": 2,
    "backend=app,state=stalled": 1,
    "backend=app,state=absent": 0,
    "backend=spare,state=ready": 0,
  });
});

test("the histogram is cumulative and in seconds, and +Inf is the count", async () => {
  const family = (await families()).get("sni_handoff_handoff_duration_seconds")!;
  expect(family.type).toBe("histogram");
  const of = (backend: string) => family.samples.filter(({ labels }) => labels.backend === backend);
  expect(of("app").map(({ name, labels, value }) => [name.split("_").at(-1), labels.le, value])).toEqual([
    ["bucket", "0.0003", 1],
    ["bucket", "0.001", 3],
    ["bucket", "0.01", 6],
    ["bucket", "+Inf", 10],
    ["sum", undefined, 1.2345],
    ["count", undefined, 10],
  ]);
  expect(of("spare").map(({ value }) => value)).toEqual([0, 0, 0, 0, 0, 0]);
  expect(of("no")).toEqual([]);
});

test("totals are the door's, however often they are asked for, and beyond 32 bits", async () => {
  const source = metricsSource();
  const at = async (accepted: number) => {
    const counters = { ...source.status.counters, accepted };
    const all = await families({ ...source, status: { ...source.status, counters } });
    return all.get("sni_handoff_accepted_total")!.samples[0]!.value;
  };
  expect([await at(7), await at(7), await at(2 ** 40 + 1)]).toEqual([7, 7, 2 ** 40 + 1]);
});

test("a backend that is configured no more has no series", async () => {
  const source = metricsSource();
  const backends = source.status.backends.filter(({ name }) => name !== "app");
  const all = await families({ ...source, status: { ...source.status, backends } });
  for (const { samples } of all.values()) {
    expect(samples.filter(({ labels }) => labels.backend === "app")).toEqual([]);
  }
});

test("a backend's name may have any character", async () => {
  const source = metricsSource();
  const name = 'a"b\\c\nd{}= ü';
  const backends = [{ ...source.status.backends[0]!, name }];
  const all = await families({ ...source, status: { ...source.status, backends } });
  expect(all.get("sni_handoff_handoffs_total")!.samples).toEqual([
    { name: "sni_handoff_handoffs_total", labels: { backend: name }, value: 1000 },
  ]);
});

test("workers, reloads, the last reload and the process", async () => {
  const all = await families();
  expect(values(all.get("sni_handoff_worker_busy_seconds_total"))).toEqual({ "worker=0": 1.5, "worker=1": 2.5 });
  expect(values(all.get("sni_handoff_worker_responsive"))).toEqual({ "worker=0": 1, "worker=1": 0 });
  expect(values(all.get("sni_handoff_reloads_total"))).toEqual({ "result=succeeded": 2, "result=failed": 1 });
  expect(values(all.get("sni_handoff_last_reload_successful"))).toEqual({ "": 0 });
  expect(values(all.get("sni_handoff_configuration_loaded_timestamp_seconds"))).toEqual({ "": 1735776000.5 });
  expect(values(all.get("sni_handoff_build_info"))).toEqual({ "version=0.1.0,node=v20.19.0": 1 });
  expect(values(all.get("sni_handoff_control_loop_lag_p99_seconds"))).toEqual({ "": 0.012 });
  expect(values(all.get("process_start_time_seconds"))).toEqual({ "": 1735689600 });
});

test("prom-client is not loaded before the first rendering", () => {
  for (const name of ["metrics", "exposition"]) {
    const module = fileURLToPath(new URL(`../../dist/daemon/${name}.js`, import.meta.url));
    expect(readFileSync(module, "utf8")).not.toMatch(/^import[^;]*"prom-client"/m);
  }
});

test("a loop that was kept busy is late", async () => {
  const lag = new LoopLag();
  try {
    expect(lag.p99).toBe(0);
    const busy = () => {
      const end = performance.now() + 600;
      while (performance.now() < end);
    };
    await until("lag", () => {
      busy();
      return lag.p99 > 200;
    });
  } finally {
    lag.close();
  }
});
