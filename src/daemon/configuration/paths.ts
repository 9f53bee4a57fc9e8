/** Paths in a configuration: relative ones are meant from the folder of the configuration file. */
import { dirname, isAbsolute, join, resolve } from "node:path";

/** Longest path or abstract name, in bytes: unix(7), sun_path less its NUL. */
export const MAX_SOCKET_PATH = 107;

/** A file's name for reading and for messages: as short as the operator wrote it. */
export function besideConfiguration(configurationFile: string, path: string): string {
  return isAbsolute(path) ? path : join(dirname(configurationFile), path);
}

/** A socket's path or a folder ("/" at its end), made absolute; abstract names ("@…") as they are. */
export function socketPath(configurationFile: string, path: string): string {
  if (path.startsWith("@")) return path;
  const absolute = resolve(dirname(configurationFile), path);
  return path.endsWith("/") && absolute !== "/" ? `${absolute}/` : absolute;
}

/** Why a file couldn't be read, without the call and the path that Node adds: "ENOENT: no such file or directory". */
export function readFailure(error: unknown): string {
  return (error as Error).message.replace(/, \w+(?: '.*')?$/, "");
}
