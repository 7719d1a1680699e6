// Exit code 0 if this is a Node.js that the packages can be built and tested with.
const [major, minor] = process.versions.node.split(".").map(Number);
process.exit(major > 20 || (major === 20 && minor >= 19) ? 0 : 1);
