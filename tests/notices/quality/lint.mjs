// Lint HTML mails: `node lint.mjs FILE...` prints the findings as JSON, a list for each file.
import { readFileSync } from "node:fs";
import { auditEmail } from "@emailens/engine";
import { caniemail } from "caniemail";

// What people and companies read mail with; of other clients the data are incomplete.
const clients = ["gmail.*", "outlook.*", "apple-mail.*", "yahoo.*", "samsung-email.*"];

function findings(html) {
  const unsupported = [...caniemail({ clients, html }).issues.errors.values()].flat();
  const audit = auditEmail(html);
  const broken = audit.compatibility.warnings.filter(({ severity }) => severity === "error");
  const rules = ["spam", "links", "accessibility", "images", "inboxPreview", "size", "templateVariables"];
  const found = [
    ...unsupported.map(({ title }) => `unsupported: ${title}`),
    ...broken.map(({ client, property }) => `broken: ${property} in ${client}`),
    ...rules.flatMap((part) => audit[part].issues.map(({ rule, message }) => `${part}: ${rule ?? message}`)),
  ];
  return [...new Set(found)].sort();
}

const files = process.argv.slice(2);
console.log(JSON.stringify(files.map((file) => findings(readFileSync(file, "utf8")))));
