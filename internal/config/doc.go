// Package config reads the configuration of the authority: flags before
// CURFEW_… environment variables before a YAML file before defaults.
//
// It owns the names, types, defaults and bounds of all options, and their
// documentation: the fields of [Config] and their tags are the only list, and
// the YAML keys, the variables, the flags and docs/config.md are made from it.
// It reads the configuration file and the files named by CURFEW_…_FILE, and
// nothing else: it opens no store, makes no directory and reads no key.
//
// The environment is read by a few lines of reflection here and not by a
// library: what is needed beside setting fields (variables nobody knows are
// errors with a suggestion, X and X_FILE exclude each other, one converter and
// one wording for all sources) is most of the work, and a library would bring a
// second list of names.
package config
