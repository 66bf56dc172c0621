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
	return unpack(ctx, dir, kernelPackage, func(root string) error {
		k, err := find(root)
		if err != nil {
			return err
		}
		_, err = run(ctx, "", "depmod", "-b", root, filepath.Base(k.Modules))
		return err
	})
}

// kernelPackage is the package that linux-image-cloud-amd64 stands for.
func kernelPackage(ctx context.Context) ([]string, error) {
	const meta = "linux-image-cloud-amd64"
	out, err := run(ctx, "", "apt-cache", "depends", "--important", meta)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(out) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: linux-image-"); ok {
			return []string{"linux-image-" + name}, nil
		}
	}
	return nil, fmt.Errorf("apt-cache depends %s: no kernel: %s", meta, out)
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
