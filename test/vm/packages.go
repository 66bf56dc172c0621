package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Unpacked returns a folder with what is in Debian packages, for Machine.Files. They are not installed: here
// they might start a service. The folder is dir; when it is not there they are downloaded.
func Unpacked(ctx context.Context, dir string, packages ...string) (string, error) {
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	err := unpack(ctx, dir, func(context.Context) ([]string, error) { return packages, nil }, func(string) error { return nil })
	if err != nil {
		return "", fmt.Errorf("packages of Debian: %w", err)
	}
	return dir, nil
}

// unpack makes dir of the packages that name tells, whole or not at all. finish does what is left to do there.
func unpack(ctx context.Context, dir string, name func(context.Context) ([]string, error), finish func(root string) error) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "unpacked-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := fetch(ctx, tmp, name); err != nil {
		// The lists may be old, or none yet.
		if _, updated := run(ctx, tmp, "apt-get", "update", "-q"); updated != nil {
			return errors.Join(err, updated)
		}
		if err := fetch(ctx, tmp, name); err != nil {
			return err
		}
	}
	debs, err := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if err != nil || len(debs) == 0 {
		return fmt.Errorf("apt-get download brought %q", debs)
	}
	root := filepath.Join(tmp, "root")
	for _, deb := range debs {
		if _, err := run(ctx, tmp, "dpkg-deb", "-x", deb, root); err != nil {
			return err
		}
	}
	if err := finish(root); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil { // of no use
		return err
	}
	return os.Rename(root, dir)
}

func fetch(ctx context.Context, dir string, name func(context.Context) ([]string, error)) error {
	packages, err := name(ctx)
	if err != nil {
		return err
	}
	// Root's folders are not apt's user's.
	_, err = run(ctx, dir, "apt-get", append([]string{"-o", "APT::Sandbox::User=root", "download", "-q"}, packages...)...)
	return err
}
