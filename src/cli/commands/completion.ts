import type { Command } from "../command.js";
import { ExitStatus } from "../exit.js";

export const completion: Command = {
  usage: "completion <shell>",
  describe: "Print a script that completes commands and options in a shell",
  positionals: {
    shell: { choices: ["bash", "zsh", "fish"], demandOption: true, describe: "bash, zsh or fish" },
  },
  examples: [
    ["source <($0 completion bash)", "In ~/.bashrc; zsh: the same in ~/.zshrc, behind compinit"],
    ["$0 completion fish > ~/.config/fish/completions/sni-handoff.fish", ""],
  ],
  async run(args) {
    const { completionScript } = await import("../completion.js");
    const { commands } = await import("./all.js");
    process.stdout.write(completionScript(args.shell as "bash" | "zsh" | "fish", commands));
    return ExitStatus.DONE;
  },
};
