/**
 * SIGUSR1 opens Node's inspector, with which any process of the same user runs code in this one. A handler of our own
 * prevents that, but Node installs its own first, at its start: it undoes an inherited SIG_IGN or signal mask, and Node
 * 20 has no option against it.
 */

/** An address that no machine has (RFC 5737, TEST-NET-1): the inspector cannot listen there. */
const NOWHERE = "--inspect-port=192.0.2.1:9229";

/** Node's own arguments, of which the inspector can't come by a signal. An operator who asks for it keeps it. */
export function withoutInspector(execArgv: readonly string[]): readonly string[] {
  const asked = execArgv.some((argument) => /^--(inspect|debug-port)/.test(argument));
  return asked ? execArgv : [NOWHERE, ...execArgv];
}
