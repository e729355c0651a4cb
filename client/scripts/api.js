// Compares the public API of each entry point, as built in dist, with its reference in api/.
// Update the reference with `node scripts/api.js --write` after an intended change.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import ts from 'typescript';

const fromPackage = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const { exports } = JSON.parse(readFileSync(fromPackage('package.json'), 'utf8'));
const isWriting = process.argv.includes('--write');
const entries = Object.entries(exports).map(([name, conditions]) => ({
  name: name === '.' ? 'index' : name.slice(2),
  file: fromPackage((conditions.import ?? conditions).types),
}));
const program = ts.createProgram(
  entries.map(({ file }) => file),
  { module: ts.ModuleKind.NodeNext, target: ts.ScriptTarget.ES2023, skipLibCheck: true, types: [] },
);
const checker = program.getTypeChecker();
const printer = ts.createPrinter();

/** Returns a page with the declarations that an entry exports, sorted by name. */
function reference(name, file) {
  const module = checker.getSymbolAtLocation(program.getSourceFile(file));
  const sections = checker
    .getExportsOfModule(module)
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map((symbol) => {
      const isAlias = symbol.flags & ts.SymbolFlags.Alias;
      const { declarations = [] } = isAlias ? checker.getAliasedSymbol(symbol) : symbol;
      const texts = declarations.map((declaration) => {
        const node = ts.isVariableDeclaration(declaration)
          ? declaration.parent.parent
          : declaration;
        return printer.printNode(ts.EmitHint.Unspecified, node, declaration.getSourceFile());
      });
      return `\n## \`${symbol.name}\`\n\n\`\`\`ts\n${texts.join('\n')}\n\`\`\`\n`;
    });
  const title = name === 'index' ? 'neverstale' : `neverstale/${name}`;
  return `# \`${title}\`\n\nMade from the source by \`scripts/api.js\`.\n${sections.join('')}`;
}

mkdirSync(fromPackage('api'), { recursive: true });
for (const { name, file } of entries) {
  const path = fromPackage(`api/${name}.md`);
  const text = reference(name, file);
  if (isWriting) {
    writeFileSync(path, text);
  } else if (readFileSync(path, 'utf8') !== text) {
    console.error(`The public API of "${name}" differs from api/${name}.md. If this is intended,
update docs/reference/client-api.md and run: node scripts/api.js --write`);
    process.exitCode = 1;
  }
}
