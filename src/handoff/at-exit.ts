/** What a process, or a worker thread, that ends in order does for each open receiver: its path goes, and its descriptors. */
export const atExit: Set<() => void> = new Set();

process.on("exit", () => {
  for (const abandon of atExit) abandon();
});
