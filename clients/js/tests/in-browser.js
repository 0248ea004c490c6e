// Stands in for `node:test` and `node:assert/strict` where there is no node: a page maps both names to this file. Only
// what the tests here use; `run` imports them and gives what became of each.
const tests = [];

export function test(name, body) {
  tests.push({ name, body });
}

/** Imports the files and runs their tests one after another; gives `{name, error}` of each, `error` null when it passed. */
export async function run(files) {
  for (const file of files) await import(file);
  const results = [];
  for (const { name, body } of tests.splice(0)) {
    let error = null;
    try {
      await body();
    } catch (problem) {
      error = String(problem?.stack ?? problem);
    }
    results.push({ name, error });
  }
  return results;
}

export default {
  ok: (value, note) => check(value, note ?? "not true"),
  equal: (is, should, note) => check(Object.is(is, should), `${note ?? ""} ${show(is)} is not ${show(should)}`),
  notEqual: (is, not) => check(!Object.is(is, not), `${show(is)} is just what it must not be`),
  deepEqual: (is, should, note) => check(same(is, should), `${note ?? ""} ${show(is)} is not ${show(should)}`),
  match: (text, pattern) => check(pattern.test(text), `${show(text)} does not fit ${pattern}`),
};

function check(holds, sentence) {
  if (!holds) throw new Error(sentence);
}

function same(one, other) {
  if (Object.is(one, other)) return true;
  if (typeof one !== "object" || typeof other !== "object" || one === null || other === null) return false;
  if (Object.getPrototypeOf(one) !== Object.getPrototypeOf(other)) return false;
  const keys = Object.keys(one);
  return (
    keys.length === Object.keys(other).length &&
    keys.every((key) => Object.hasOwn(other, key) && same(one[key], other[key]))
  );
}

function show(value) {
  return value === undefined ? "undefined" : (JSON.stringify(value) ?? String(value));
}
