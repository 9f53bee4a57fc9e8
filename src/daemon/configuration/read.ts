/** Files of a configuration: opened once, so that one which is replaced meanwhile is read whole as it was. */
import { constants, type Stats } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";

/**
 * Opens a regular file; the caller closes it. Without waiting: a FIFO would wait for its writer (fifo(7)).
 * Throws the system's error, or one that says that it is something else.
 */
export async function openRegular(file: string): Promise<FileHandle> {
  const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    if ((await handle.stat()).isFile()) return handle;
  } catch (error) {
    await handle.close();
    throw error;
  }
  await handle.close();
  throw new Error("it is no regular file");
}

/** The text of a file. Throws if it is not UTF-8, or is written to meanwhile: half a configuration may be a valid one. */
export async function readText(handle: Pick<FileHandle, "stat" | "readFile">): Promise<string> {
  const before = await handle.stat();
  const bytes = await handle.readFile();
  if (hasChanged(before, await handle.stat())) throw new Error(CHANGED);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new Error("it is not UTF-8 text");
  }
}

export const CHANGED = "it was written to while it was read; try again";

/** Whether somebody wrote to a file between two looks at it; of a pipe it says no. */
export function hasChanged(before: Stats, after: Stats): boolean {
  if (!before.isFile()) return false;
  return before.size !== after.size || before.mtimeMs !== after.mtimeMs;
}
