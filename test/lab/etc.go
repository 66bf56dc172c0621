package lab

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Etc makes files those of the firewall's /etc, as a person would have typed them;
// what was there of an earlier call goes away.
func (f *Firewall) Etc(files fs.FS) error {
	etc := f.etc("upper")
	if err := os.RemoveAll(filepath.Dir(etc)); err != nil {
		return err
	}
	for _, dir := range []string{etc, f.etc("work")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		to := filepath.Join(etc, name)
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return os.MkdirAll(to, 0o755)
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		return os.WriteFile(to, text, 0o640) // as hostname.if(5) wants it
	})
}

func (f *Firewall) etc(part string) string { return filepath.Join(f.dir, "etc", part) }

// withEtc runs a program that finds the files of Etc in /etc, over the machine's own.
const withEtc = `mount -t overlay overlay -o "lowerdir=/etc,upperdir=$1,workdir=$2" /etc && shift 2 && exec "$@"`

// RunWithEtc is Run of one of our programs in the firewall, with the files of Etc in /etc.
func (f *Firewall) RunWithEtc(ctx context.Context, program string, args ...string) (string, error) {
	words := append([]string{"--mount", "sh", "-c", withEtc, "sh", f.etc("upper"), f.etc("work"), f.Program(program)}, args...)
	out, err := f.Run(ctx, "unshare", words...)
	if err != nil {
		return out, fmt.Errorf("%s: %w", program, err)
	}
	return out, nil
}
