/** Who the door is to be. */
import { HandoffError } from "../../errors.js";
import { type Identity, native } from "../../native/addon.js";
import { CAP_SETGID, CAP_SETUID, hasCapability } from "./capabilities.js";
import type { ProcessStatus } from "./process-status.js";
import type { PrivilegeSettings } from "./settings.js";

/**
 * The user to change to, with its groups; undefined if there is none or this process is that user already. Throws
 * ERR_NOT_PERMITTED if it must change and can't.
 */
export function identityOf(
  settings: Pick<PrivilegeSettings, "file" | "identity">,
  status: ProcessStatus,
): Identity | undefined {
  const { identity } = settings;
  if (identity === undefined) return undefined;
  const { uid, gid, user } = identity;
  const may = [CAP_SETUID, CAP_SETGID].every((number) => hasCapability(status.capabilities, number));
  if (may) return { uid, gid, groups: native.accountGroups(user, uid, gid) };
  if (status.uid === uid && status.gid === gid) return undefined;
  const wanted = /^\d+$/.test(user) ? `${uid}` : `${user} (${uid})`;
  throw new HandoffError(
    "ERR_NOT_PERMITTED",
    `${settings.file}: user: this process runs as user ${status.uid}, group ${status.gid} and may not become user ${wanted}, group ${gid}; start it as root, or as that user and group, or remove "user" and "group"`,
  );
}
