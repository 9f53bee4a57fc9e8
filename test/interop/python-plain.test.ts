/** The standard library's http.server under ssl, with the receiver of examples/python. */
import { pythonTrials } from "./support/python-trials.js";

pythonTrials("https_plain.py");
