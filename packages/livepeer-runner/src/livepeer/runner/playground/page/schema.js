// What of JSON Schema a form needs: one shape for each of the ways to write the same thing.

/** Follows references, and merges what stands beside one. */
export function resolved(schema, root) {
  let found = schema ?? {};
  for (let i = 0; i < 16 && found.$ref; i += 1) {
    const { $ref, ...beside } = found;
    const target = $ref.split("/").slice(1).reduce((at, part) => at?.[part.replaceAll("~1", "/").replaceAll("~0", "~")], root);
    found = { ...(target ?? {}), ...beside };
  }
  if (found.allOf?.length === 1) {
    const { allOf, ...beside } = found;
    return resolved({ ...allOf[0], ...beside }, root);
  }
  return found;
}

/** The alternatives of a schema but null, and whether it may be null. */
export function alternatives(schema, root) {
  const listed = schema.anyOf ?? schema.oneOf;
  if (!listed) {
    if (!Array.isArray(schema.type)) return { options: [schema], nullable: false };
    const types = schema.type.filter((type) => type !== "null");
    return { options: types.map((type) => ({ ...schema, type })), nullable: types.length < schema.type.length };
  }
  const options = listed.map((each) => resolved(each, root));
  return {
    options: options.filter((each) => each.type !== "null"),
    nullable: options.some((each) => each.type === "null"),
  };
}

/** `max_length` to "Max length"; the author's own title where it says something else. */
export function titleOf(name, schema) {
  const words = name.replaceAll("_", " ").trim();
  const made = words.charAt(0).toUpperCase() + words.slice(1);
  const written = schema.title;
  return written && written.toLowerCase() !== words.toLowerCase() && !schema.properties ? written : made;
}

/** What a value begins with where nobody has said anything. */
export function blank(schema, root, depth = 0) {
  const found = resolved(schema, root);
  if (found.default !== undefined) return found.default;
  if (found.const !== undefined) return found.const;
  if (found.enum) return found.enum[0];
  if (depth > 8) return null;
  const { options, nullable } = alternatives(found, root);
  if (found.anyOf || found.oneOf) return nullable ? null : blank(options[0], root, depth + 1);
  if (found.type === "object" && found.properties) {
    const names = Object.keys(found.properties).filter((name) => (found.required ?? []).includes(name) || resolved(found.properties[name], root).default !== undefined);
    return Object.fromEntries(names.map((name) => [name, blank(found.properties[name], root, depth + 1)]));
  }
  if (found.type === "object") return {};
  if (found.type === "array") return Array.from({ length: found.minItems ?? 0 }, () => blank(found.items ?? {}, root, depth + 1));
  if (found.type === "boolean") return false;
  if (found.type === "integer" || found.type === "number") return found.minimum ?? (found.exclusiveMinimum !== undefined ? found.exclusiveMinimum + 1 : 0);
  if (found.type === "string") return "";
  return null;
}

export function isFile(schema) {
  return schema.format === "file" || schema.contentMediaType !== undefined || schema.format === "base64";
}
