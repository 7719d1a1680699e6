package main

import (
	"flag"
	"log"
	"os"
	"path/filepath"
)

func main() {
	log.SetFlags(0)
	out := flag.String("o", ".", "the directory of wiretest; vectors that are there are replaced")
	flag.Parse()
	if err := write(*out, build()); err != nil {
		log.Fatal(err)
	}
}

// build returns the files by name.
func build() map[string]string {
	keySet("es1", es1.jwk())
	files := make(map[string]string)
	for _, group := range [][]*dialogue{
		starting(), kinds(), leases(), authorityTime(), answers(), snapshots(), keySets(), tokens(), failing(), extras(),
	} {
		for _, d := range group {
			name := filepath.Join("vectors", d.name+".json")
			if files[name] != "" {
				panic("two vectors are called " + d.name)
			}
			files[name] = d.text()
		}
	}
	files["tokens.json"], files["keys.json"] = tokensText(), keysText()
	return files
}

func write(dir string, files map[string]string) error {
	old, err := filepath.Glob(filepath.Join(dir, "vectors", "*.json"))
	if err != nil {
		return err
	}
	for _, name := range old {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
