/**
 * `/docs`: the OpenAPI document as one page for people. Written here rather than taken from a viewer, whose scripts
 * would be several times the size of this whole Worker: the page runs no script and asks no other host for anything.
 */
import { html } from "hono/html";

type Html = ReturnType<typeof html>;

interface Schema {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly format?: string;
  readonly pattern?: string;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly default?: unknown;
  readonly example?: unknown;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly items?: Schema;
  readonly anyOf?: readonly Schema[];
  readonly allOf?: readonly Schema[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
}

type Content = Readonly<Record<string, { readonly schema?: Schema }>>;

interface Operation {
  readonly tags?: readonly string[];
  readonly summary?: string;
  readonly description?: string;
  readonly security?: readonly Readonly<Record<string, unknown>>[];
  readonly parameters?: readonly {
    readonly name: string;
    readonly in: string;
    readonly required?: boolean;
    readonly description?: string;
    readonly schema?: Schema;
  }[];
  readonly requestBody?: { readonly required?: boolean; readonly content: Content };
  readonly responses: Readonly<Record<string, { readonly description: string; readonly content?: Content }>>;
}

/** As much of an OpenAPI 3.1 document as the page shows. */
export interface ReferenceDocument {
  readonly info: { readonly title: string; readonly version: string; readonly description: string };
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> };
}

export const STYLE: string = `
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --accent: #2a6fdb; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
code { font: 0.9em ui-monospace, monospace; overflow-wrap: anywhere; } td:first-child code { overflow-wrap: normal; }
nav { columns: 18rem; } nav ul { margin: 0 0 1rem; padding-left: 1.2rem; break-inside: avoid; }
article { border-top: 1px solid var(--line); padding: 0.5rem 0 1rem; }
h3 code { background: var(--soft); padding: 0.2rem 0.4rem; border-radius: 0.3rem; }
.method { color: var(--accent); font-weight: 700; text-transform: uppercase; }
table { border-collapse: collapse; width: 100%; } caption { text-align: left; font-weight: 600; padding-top: 0.6rem; }
th, td { text-align: left; vertical-align: top; padding: 0.25rem 0.6rem 0.25rem 0; border-top: 1px solid var(--line); font-weight: 400; }
.soft { opacity: 0.7; }
@media (max-width: 50rem) { tr, td { display: block; } td { border: 0; padding: 0; } tr { border-top: 1px solid var(--line); padding: 0.25rem 0; } }
`;

export function referencePage(document: ReferenceDocument): Html {
  const { info } = document;
  const operations = Object.entries(document.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => ({ path, method, operation, id: `${method}-${path}` })),
  );
  const tags = [...new Set(operations.flatMap(({ operation }) => operation.tags ?? []))].toSorted();
  const tagged = (tag: string): typeof operations =>
    operations.filter(({ operation }) => operation.tags?.includes(tag));
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width" />
        <title>${info.title} ${info.version}</title>
        <link rel="stylesheet" href="/docs/style.css" />
      </head>
      <body>
        <h1>${info.title} <span class="soft">${info.version}</span></h1>
        <p>${prose(info.description)}</p>
        <p>For programs: <a href="/openapi.json">/openapi.json</a></p>
        <nav>
          ${tags.map(
            (tag) =>
              html`<strong>${tag}</strong>
                <ul>
                  ${tagged(tag).map(
                    ({ id, operation }) =>
                      html`<li><a href="#${encodeURIComponent(id)}">${operation.summary}</a></li>`,
                  )}
                </ul>`,
          )}
        </nav>
        ${tags.map(
          (tag) =>
            html`<h2>${tag}</h2>
              ${tagged(tag).map(operationArticle)}`,
        )}
        <h2>Schemas</h2>
        ${Object.entries(document.components.schemas)
          .toSorted(([left], [right]) => (left < right ? -1 : 1))
          .map(
            ([name, schema]) =>
              html`<article id="schema-${name}">
                <h3>${name}</h3>
                <p>${prose(schema.description)}</p>
                ${shape(schema)}
              </article>`,
          )}
      </body>
    </html> `;
}

function operationArticle(entry: {
  readonly path: string;
  readonly method: string;
  readonly id: string;
  readonly operation: Operation;
}): Html {
  const { operation } = entry;
  const credentials = operation.security?.flatMap((each) => Object.keys(each)) ?? [];
  const body = Object.entries(operation.requestBody?.content ?? {});
  return html`<article id="${entry.id}">
    <h3>
      <code><span class="method">${entry.method}</span> ${entry.path}</code>
    </h3>
    <p><strong>${operation.summary}.</strong> ${prose(operation.description)}</p>
    <p class="soft">
      ${credentials.length === 0 ? "No credential needed." : `Credential: ${credentials.join(" or ").replaceAll("_", " ")}.`}
    </p>
    ${rows(
      "Parameters",
      (operation.parameters ?? []).map(({ name, in: place, required, description, schema = {} }) => [
        html`<code>${name}</code> <span class="soft">${place}${required === true ? ", required" : ""}</span>`,
        type(schema),
        prose(description ?? schema.description),
      ]),
    )}
    ${body.map(
      ([media, { schema = {} }]) =>
        html`<p>
            Body <code>${media}</code>${operation.requestBody?.required === true ? "" : ", optional"}:
            ${type(schema)}
          </p>
          ${schema.$ref === undefined ? shape(schema) : ""}`,
    )}
    ${rows(
      "Answers",
      Object.entries(operation.responses).map(([status, { description, content = {} }]) => [
        html`<code>${status}</code>`,
        html`${description}`,
        html`${Object.entries(content).map(([media, { schema = {} }]) => html`<code>${media}</code> ${type(schema)} `)}`,
      ]),
    )}
  </article>`;
}

/** The properties of an object, or the type of anything else. */
function shape(schema: Schema): Html {
  const parts = [schema, ...(schema.allOf ?? [])];
  const properties = parts.flatMap((part) => Object.entries(part.properties ?? {}));
  if (properties.length === 0) return html`<p>${type(schema)}</p>`;
  const required = new Set(parts.flatMap((part) => part.required ?? []));
  return rows(
    "Fields",
    properties.map(([name, property]) => [
      html`<code>${name}</code>${required.has(name) ? "" : html` <span class="soft">optional</span>`}`,
      type(property),
      prose(property.description),
    ]),
  );
}

function rows(caption: string, cells: readonly (readonly Html[])[]): Html {
  if (cells.length === 0) return html``;
  return html`<table>
    <caption>
      ${caption}
    </caption>
    ${cells.map(
      (row) =>
        html`<tr>
          ${row.map((cell) => html`<td>${cell}</td>`)}
        </tr>`,
    )}
  </table>`;
}

function type(schema: Schema): Html {
  if (schema.$ref !== undefined) {
    const name = schema.$ref.slice(schema.$ref.lastIndexOf("/") + 1);
    return html`<a href="#schema-${name}">${name}</a>`;
  }
  const union = schema.anyOf ?? schema.allOf;
  if (union !== undefined) {
    return html`${union.map((each, index) => html`${index === 0 ? "" : schema.anyOf ? " or " : " and "}${type(each)}`)}`;
  }
  if (schema.items !== undefined) return html`array of ${type(schema.items)}${limits(schema)}`;
  const values = schema.const === undefined ? schema.enum : [schema.const];
  if (values !== undefined)
    return html`${values.map((value) => JSON.stringify(value)).join(", ")}${limits(schema)}`;
  const name = typeof schema.type === "string" ? schema.type : (schema.type ?? ["anything"]).join(" or ");
  return html`${schema.format ?? name}${limits(schema)}`;
}

function limits(schema: Schema): string {
  const { minimum, maximum, minLength, maxLength, minItems, maxItems, pattern } = schema;
  const range = (low: number | undefined, high: number | undefined, unit: string): string =>
    low === undefined && high === undefined ? "" : ` ${low ?? ""}…${high ?? ""}${unit}`;
  // Limits of the number type itself say nothing.
  const low = minimum === Number.MIN_SAFE_INTEGER ? undefined : minimum;
  const high = maximum === Number.MAX_SAFE_INTEGER ? undefined : maximum;
  return [
    range(low, high, ""),
    range(minLength, maxLength, " characters"),
    range(minItems, maxItems, " items"),
    pattern === undefined ? "" : ` matching ${pattern}`,
    schema.default === undefined ? "" : ` default ${JSON.stringify(schema.default)}`,
  ].join("");
}

/** Descriptions are text with `code` in backticks. */
function prose(text: string = ""): Html {
  return html`${text.split("`").map((part, index) => (index % 2 === 0 ? part : html`<code>${part}</code>`))}`;
}
