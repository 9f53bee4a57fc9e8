/** Configurations in a folder of their own, with their problems and warnings as compilers write them. */
import { type Configuration, loadConfiguration } from "../../../src/daemon/configuration/index.js";
import { ConfigurationError, formatProblem, type Problem } from "../../../src/errors.js";
import { Folder } from "../../support/folder.js";

export class ConfigurationFolder extends Folder {
  /** Writes and loads door.yaml. */
  load(text: string): Promise<Configuration> {
    return loadConfiguration(this.write("door.yaml", text));
  }

  /** Without the folder's name. */
  async problemsOf(text: string): Promise<string[]> {
    try {
      await this.load(text);
      return [];
    } catch (error) {
      if (!(error instanceof ConfigurationError)) throw error;
      return this.lines(error.problems);
    }
  }

  async warningsOf(text: string): Promise<string[]> {
    return this.lines((await this.load(text)).warnings);
  }

  lines(problems: readonly Problem[]): string[] {
    return problems.map(formatProblem).map((line) => line.replaceAll(`${this.path}/`, ""));
  }
}

export const LISTENERS = 'listeners: [{ address: "127.0.0.1:0" }]\n';
