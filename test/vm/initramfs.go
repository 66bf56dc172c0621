package vm

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/u-root/u-root/pkg/cpio"
	"github.com/u-root/u-root/pkg/ldd"

	"github.com/pfsync-linux/pfsync/test/vm/guest"
)

// tree is what goes into an initramfs, by its path there.
type tree struct {
	from     *cpio.Recorder
	records  []cpio.Record
	have     map[string]bool
	programs []string // files that may need libraries
}

// writeInitramfs writes what m needs to carry out order.
func writeInitramfs(ctx context.Context, file string, m Machine, init string, order guest.Order) error {
	text, err := json.Marshal(order)
	if err != nil {
		return err
	}
	t := &tree{from: cpio.NewRecorder(), have: map[string]bool{}}
	for _, dir := range []string{"/bin", "/sbin", "/lib", "/lib64"} {
		if to, err := os.Readlink(dir); err == nil { // merged into /usr, as on this machine
			t.put(dir, cpio.Symlink(dir, to))
		}
	}
	t.put(guest.OrderFile, cpio.StaticFile(guest.OrderFile, string(text), 0o600))
	// The kernel opens it for the first process, before there is a devtmpfs.
	t.put("/dev/console", cpio.CharDev("/dev/console", 0o600, 5, 1))
	if err := t.add(guest.Init, init); err != nil {
		return err
	}
	for _, name := range append([]string{"modprobe"}, m.Programs...) {
		path, err := exec.LookPath(name)
		if err != nil {
			return err
		}
		if err := t.addProgram(path); err != nil {
			return err
		}
	}
	if err := t.addPackages(ctx, m.Packages); err != nil {
		return err
	}
	for to, from := range m.Files {
		if err := t.add(to, from); err != nil {
			return err
		}
	}
	libraries, err := ldd.List(t.programs...)
	if err != nil {
		return fmt.Errorf("shared libraries: %w", err)
	}
	for _, lib := range libraries {
		if err := t.addProgram(lib); err != nil {
			return err
		}
	}
	// Behind the libraries: what is executable there is the kernel's.
	if m.Kernel.Modules != "" {
		if err := t.add("/lib/modules/"+filepath.Base(m.Kernel.Modules), m.Kernel.Modules); err != nil {
			return err
		}
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	out := cpio.Newc.Writer(w)
	if err := cpio.WriteRecords(out, t.records); err != nil {
		return err
	}
	if err := cpio.WriteTrailer(out); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

// put adds a record, behind the folders that it is in: the kernel makes none itself.
func (t *tree) put(path string, r cpio.Record) {
	if t.have[path] {
		return
	}
	t.have[path] = true
	if dir := filepath.Dir(path); dir != "/" {
		t.put(dir, cpio.Directory(dir, 0o755))
	}
	r.Name = cpio.Normalize(path)
	t.records = append(t.records, r)
}

// addProgram adds a program or library at its own path, with the symbolic links that lead to it.
func (t *tree) addProgram(path string) error {
	for {
		dir, err := filepath.EvalSymlinks(filepath.Dir(path))
		if err != nil {
			return err
		}
		path = filepath.Join(dir, filepath.Base(path))
		if err := t.add(path, path); err != nil {
			return err
		}
		to, err := os.Readlink(path)
		if err != nil {
			return nil // the program itself
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(dir, to)
		}
		path = to
	}
}

// addPackages adds the files of Debian packages.
func (t *tree) addPackages(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	list, err := run(ctx, "", "dpkg-query", append([]string{"-L"}, names...)...)
	if err != nil {
		return err
	}
	for path := range strings.Lines(list) {
		path = strings.TrimSuffix(path, "\n")
		info, err := os.Stat(path)
		if err != nil || info.IsDir() || document(path) {
			continue // a local administrator may have removed some of it
		}
		if err := t.addProgram(path); err != nil {
			return err
		}
	}
	return nil
}

func document(path string) bool {
	for _, dir := range []string{"doc", "man", "info", "locale", "lintian", "bug"} {
		if strings.HasPrefix(path, "/usr/share/"+dir+"/") {
			return true
		}
	}
	return false
}

// add adds a file, or a folder with all that is in it, at another path.
func (t *tree) add(to, from string) error {
	return filepath.WalkDir(from, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		r, err := t.from.GetRecord(file)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		t.put(merged(to+strings.TrimPrefix(file, from)), r)
		if d.Type().IsRegular() && r.Mode&0o111 != 0 {
			t.programs = append(t.programs, file)
		}
		return nil
	})
}

// merged is a path without the symbolic links of this machine's root.
func merged(path string) string {
	first, rest, _ := strings.Cut(path[1:], "/")
	if to, err := os.Readlink("/" + first); err == nil && rest != "" {
		return "/" + to + "/" + rest
	}
	return path
}
