import type { BackendSettings } from "../../door/settings.js";

/** What of a configuration privileges depend on. */
export interface PrivilegeSettings {
  readonly file: string;
  /** Every file that was read: absolute. */
  readonly files: readonly string[];
  readonly door: { readonly backends: readonly BackendSettings[] };
  readonly control: { readonly path: string } | undefined;
  /** The relay that the door starts has what the door has. */
  readonly relay: {
    readonly folder: string;
    readonly start: boolean;
    readonly backends: readonly { readonly targets: readonly { readonly kind: string; readonly text: string }[] }[];
  };
  readonly pidfile: string | undefined;
  readonly identity: { readonly uid: number; readonly gid: number; readonly user: string } | undefined;
  readonly privileges: { readonly landlock: boolean; readonly keepBindService: boolean };
}
