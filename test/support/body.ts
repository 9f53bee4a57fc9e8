/** All that a stream has until its end, as text. */
export function body(stream: NodeJS.ReadableStream): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    stream.setEncoding("utf8");
    stream.on("data", (data) => {
      text += data;
    });
    stream.on("end", () => resolve(text));
    stream.on("error", reject);
  });
}
