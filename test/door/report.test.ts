import { expect, it } from "vitest";
import { Report } from "../../src/door/report.js";
import type { WorkerReport } from "../../src/door/settings.js";

function reported(): { report: Report; events: () => string[] } {
  const posted: WorkerReport[] = [];
  const events = () =>
    posted.splice(0).map((line) => {
      if (line.type !== "log") return line.type;
      return `${line.level} ${line.event}${line.event === "log.dropped" ? ` ${line.fields.lines}` : ""}`;
    });
  return { report: new Report((line) => posted.push(line)), events };
}

it("what repeats too fast is dropped, and how much was is said with the next line", () => {
  const { report, events } = reported();
  for (let i = 0; i < 60; i++) report.line(1000, "warn", "repeated", "");
  expect(events()).toEqual(Array(50).fill("warn repeated"));
  report.line(2000, "info", "later", "");
  expect(events()).toEqual(["warn log.dropped 10", "info later"]);
});

it("lines for debugging keep no others out, and are missed by nobody who does not read them", () => {
  const { report, events } = reported();
  for (let i = 0; i < 60; i++) report.line(1000, "debug", "refused", "");
  report.line(1000, "warn", "important", "");
  expect(events()).toEqual([...Array(50).fill("debug refused"), "warn important"]);
  report.line(2000, "debug", "refused", "");
  report.line(2000, "info", "later", "");
  expect(events()).toEqual(["debug log.dropped 10", "debug refused", "info later"]);
});
