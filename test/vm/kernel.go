package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Kernel is a kernel and its modules.
type Kernel struct {
	Image   string // the file that QEMU boots
	Modules string // the folder lib/modules/RELEASE
}

// Debian returns the kernel of this machine's Debian for virtual machines (linux-image-cloud-*). It is
// kept in the folder dir; when it is not there it is downloaded, and not installed.
func Debian(ctx context.Context, dir string) (Kernel, error) {
	k, err := find(dir)
	if !errors.Is(err, os.ErrNotExist) {
		return k, err
	}
	if err := download(ctx, dir); err != nil {
		return Kernel{}, fmt.Errorf("kernel of Debian: %w", err)
	}
	return find(dir)
}

func find(dir string) (Kernel, error) {
	images, err := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if err != nil {
		return Kernel{}, err
	}
	if len(images) != 1 {
		return Kernel{}, fmt.Errorf("%s: %d kernels: %w", dir, len(images), os.ErrNotExist)
	}
	release := strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")
	return Kernel{Image: images[0], Modules: filepath.Join(dir, "lib", "modules", release)}, nil
}

// download makes dir, whole or not at all.
func download(ctx context.Context, dir string) error {
	if runtime.GOARCH != "amd64" {
		return fmt.Errorf("%s: only amd64 is known", runtime.GOARCH)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "kernel-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := fetchPackage(ctx, tmp); err != nil {
		// The lists may be old, or none yet.
		if _, updated := run(ctx, tmp, "apt-get", "update", "-q"); updated != nil {
			return errors.Join(err, updated)
		}
		if err := fetchPackage(ctx, tmp); err != nil {
			return err
		}
	}
	deb, err := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if err != nil || len(deb) != 1 {
		return fmt.Errorf("apt-get download brought %q", deb)
	}
	root := filepath.Join(tmp, "root")
	if _, err := run(ctx, tmp, "dpkg-deb", "-x", deb[0], root); err != nil {
		return err
	}
	k, err := find(root)
	if err != nil {
		return err
	}
	if _, err := run(ctx, tmp, "depmod", "-b", root, filepath.Base(k.Modules)); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil { // without a kernel
		return err
	}
	return os.Rename(root, dir)
}

// fetchPackage downloads the package that linux-image-cloud-amd64 stands for.
func fetchPackage(ctx context.Context, dir string) error {
	const meta = "linux-image-cloud-amd64"
	out, err := run(ctx, dir, "apt-cache", "depends", "--important", meta)
	if err != nil {
		return err
	}
	for line := range strings.Lines(out) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: linux-image-"); ok {
			// Root's folders are not apt's user's.
			_, err := run(ctx, dir, "apt-get", "-o", "APT::Sandbox::User=root", "download", "-q", "linux-image-"+name)
			return err
		}
	}
	return fmt.Errorf("apt-cache depends %s: no kernel: %s", meta, out)
}

func run(ctx context.Context, dir, program string, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, stderr.Bytes())
	}
	return stdout.String(), nil
}
