/**
 * node test/memory-safety/sanitized.mjs [--leaks] [FILE…]: a copy of this folder is built with AddressSanitizer and
 * UndefinedBehaviorSanitizer (gcc), and the suites of sanitized.config.ts run in it, those of test/native and test/preload, or those that FILE names.
 * With --leaks, workers that end and wrong values run with LeakSanitizer, too. Exit status 1 if a test failed or a sanitizer has reported
 * something; the copy stays then.
 */
import { execFileSync, spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const work = mkdtempSync(join(tmpdir(), "sni-handoff-sanitized-"));
const reports = join(work, "reports");
const at = (...parts) => join(work, ...parts);
mkdirSync(reports);

const git = (...args) =>
  execFileSync("git", ["-c", "safe.directory=*", "-C", root, ...args], { encoding: "utf8", maxBuffer: 1 << 26 });

/** Files as they are now, with their times, by which what is built is judged. */
function copyFiles() {
  for (const file of git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")) {
    if (file === "" || !existsSync(join(root, file))) continue;
    mkdirSync(dirname(at(file)), { recursive: true });
    copyFileSync(join(root, file), at(file));
    const { atime, mtime } = statSync(join(root, file));
    utimesSync(at(file), atime, mtime);
  }
  cpSync(join(root, "dist"), at("dist"), { recursive: true, preserveTimestamps: true });
  symlinkSync(join(root, "node_modules"), at("node_modules"));
}

/**
 * A compiler that sanitizes. The helper of the preload library is started without an environment and without standard
 * error, so what it reports goes where it was compiled to. The library may be all that a program is preloaded with.
 */
function writeCompiler() {
  const always = `log_path=${reports}/preload:exitcode=86`;
  const options = { helper: `${always}:detect_leaks=1`, library: `${always}:detect_leaks=0:verify_asan_link_order=0` };
  for (const [name, text] of Object.entries(options)) {
    const declared = '__attribute__((weak, visibility("default"))) const char *';
    const functions = ["asan", "ubsan"].map(
      (kind) => `${declared}__${kind}_default_options(void) { return "${text}"; }\n`,
    );
    writeFileSync(at(`${name}.h`), functions.join(""));
  }
  writeFileSync(
    at("cc"),
    `#!/bin/sh
case " $* " in
  *"/sni-handoff-helper "*) set -- -include ${at("helper.h")} "$@" ;;
  *"/libsnihandoff.so "*) set -- -include ${at("library.h")} "$@" ;;
esac
exec gcc -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g "$@"
`,
  );
  chmodSync(at("cc"), 0o755);
}

function build() {
  const { status, stdout, stderr } = spawnSync(process.execPath, [at("native", "build.mjs")], {
    encoding: "utf8",
    env: { ...process.env, CC: at("cc") },
  });
  if (status !== 0) throw new Error(`the addon could not be built with sanitizers\n${stdout}${stderr}`);
  // A build that nothing looks at would be without reports, too.
  for (const name of ["Release/sni_handoff.node", "preload/libsnihandoff.so", "preload/sni-handoff-helper"]) {
    const isSanitized = readFileSync(at("native", "build", name)).includes("__asan_report_load");
    if (!isSanitized) throw new Error(`${name} was built without sanitizers`);
  }
}

const library = (name) => execFileSync("gcc", [`-print-file-name=${name}`], { encoding: "utf8" }).trim();

/** Node has handlers of its own for SIGSEGV (WebAssembly). */
const always = "allow_user_segv_handler=1:detect_stack_use_after_return=1";

const environment = (more) => ({
  ...process.env,
  LD_PRELOAD: `${library("libasan.so")}:${library("libubsan.so")}`,
  ASAN_OPTIONS: `${always}:${more}`,
  UBSAN_OPTIONS: `print_stacktrace=1:log_path=${reports}/undefined`,
});

function runSuites(files) {
  const args = [
    join(root, "node_modules", "vitest", "vitest.mjs"),
    "run",
    "--config",
    "test/memory-safety/sanitized.config.ts",
  ];
  const env = environment(`detect_leaks=0:log_path=${reports}/address`);
  return spawnSync(process.execPath, [...args, ...files], { cwd: work, env, stdio: "inherit" }).status === 0;
}

/** Node frees little of its own at its end: of LeakSanitizer's report, what the addon has allocated counts. */
function runForLeaks(args) {
  const env = environment(`detect_leaks=1:exitcode=0:log_path=${reports}/leaks`);
  const { status, stderr } = spawnSync(process.execPath, args, { cwd: work, env, encoding: "utf8" });
  const found = [];
  for (const file of readdirSync(reports).filter((name) => name.startsWith("leaks."))) {
    const blocks = readFileSync(join(reports, file), "utf8").split("\n\n");
    found.push(...blocks.filter((block) => /leak of/.test(block) && /sni_handoff/.test(block)));
    if (
      blocks.every(
        (block) => /leak of|^Suppressions|^SUMMARY|^={10}|LeakSanitizer/.test(block.trim()) || block.trim() === "",
      )
    ) {
      rmSync(join(reports, file));
    }
  }
  for (const block of found) console.error(block);
  if (status !== 0) console.error(`${args.join(" ")} ended with ${status}\n${stderr}`);
  console.log(`${args.join(" ")}: ${found.length} leaks of the addon`);
  return status === 0 && found.length === 0;
}

copyFiles();
writeCompiler();
build();
const given = process.argv.slice(2);
const files = given.filter((each) => each !== "--leaks");
let isWell = runSuites(files.length > 0 ? files : ["test/native", "test/preload"]);
if (given.includes("--leaks")) {
  const fixture = (name) => at("test", "native", "fixtures", name);
  const teardown = ["--expose-gc", fixture("teardown.mjs"), "40"];
  for (const args of [
    [...teardown, "addon"],
    [...teardown, "shared"],
    [fixture("values.mjs"), "random", "1", "2000"],
  ]) {
    isWell = runForLeaks(args) && isWell;
  }
}
const reported = readdirSync(reports);
for (const file of reported) console.error(`--- ${file}\n${readFileSync(join(reports, file), "utf8")}`);
console.log(`${reported.length} reports of sanitizers`);
if (isWell && reported.length === 0) rmSync(work, { recursive: true });
else {
  console.error(`what was built stays in ${work}`);
  process.exitCode = 1;
}
