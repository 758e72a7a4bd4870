// Image-root makes a containerd root directory with container images in it, unpacked and ready to run.
//
// It reads an OCI image layout whose index names each image (annotation io.containerd.image.name) and writes what
// containerd would have written after importing them: content store, overlayfs snapshots, metadata. It uses
// containerd's own libraries in its own process: no daemon, no mount, no namespace.
//
// The same layout gives the same root, byte for byte: keys are derived from digests, and both databases are written
// anew at the end, with fixed times and in sorted order.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"
)

const (
	snapshotter = "overlayfs"
	contentDir  = "io.containerd.content.v1.content"
	metadataDB  = "io.containerd.metadata.v1.bolt/meta.db"
	snapshotDir = "io.containerd.snapshotter.v1.overlayfs"
)

func main() {
	layout := flag.String("layout", "", "OCI image layout to read")
	root := flag.String("root", "", "containerd root directory to make; must not exist")
	namespace := flag.String("namespace", "k8s.io", "containerd namespace")
	epoch := flag.Int64("time", 0, "time to write into the databases, seconds since 1970")
	flag.Parse()
	if *layout == "" || *root == "" || flag.NArg() != 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx := namespaces.WithNamespace(context.Background(), *namespace)
	if err := run(ctx, *layout, *root, time.Unix(*epoch, 0).UTC()); err != nil {
		fmt.Fprintln(os.Stderr, "image-root:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, layout, root string, epoch time.Time) error {
	if err := os.Mkdir(root, 0o711); err != nil {
		return err
	}
	if err := fill(ctx, layout, root); err != nil {
		return err
	}
	if err := rewrite(filepath.Join(root, metadataDB), 0o644, epoch); err != nil {
		return err
	}
	return rewrite(filepath.Join(root, snapshotDir, "metadata.db"), 0o600, epoch, filepath.Join(root, snapshotDir, "snapshots"))
}

// store is a containerd root that is open.
type store struct {
	layout    string
	db        *metadata.DB
	images    images.Store
	content   content.Store
	snapshots snapshots.Snapshotter
}

// fill puts every image of the layout into a new containerd root.
func fill(ctx context.Context, layout, root string) (err error) {
	blobs, err := local.NewStore(filepath.Join(root, contentDir))
	if err != nil {
		return err
	}
	overlays, err := overlay.NewSnapshotter(filepath.Join(root, snapshotDir))
	if err != nil {
		return err
	}
	path := filepath.Join(root, metadataDB)
	if err := os.Mkdir(filepath.Dir(path), 0o711); err != nil {
		return err
	}
	file, err := bolt.Open(path, 0o644, &bolt.Options{NoSync: true})
	if err != nil {
		return err
	}
	db := metadata.NewDB(file, blobs, map[string]snapshots.Snapshotter{snapshotter: overlays})
	defer func() { err = errors.Join(err, overlays.Close(), file.Close()) }()
	if err := db.Init(ctx); err != nil {
		return err
	}
	s := &store{layout, db, metadata.NewImageStore(db), db.ContentStore(), db.Snapshotter(snapshotter)}

	var index ocispec.Index
	if err := readJSON(filepath.Join(layout, ocispec.ImageIndexFile), &index); err != nil {
		return err
	}
	for _, target := range index.Manifests {
		name := target.Annotations[images.AnnotationImageName]
		if name == "" {
			return fmt.Errorf("manifest %s has no name", target.Digest)
		}
		target.Annotations = nil
		if err := s.add(ctx, name, target); err != nil {
			return fmt.Errorf("image %s: %w", name, err)
		}
	}
	return nil
}

// add imports and unpacks one image.
func (s *store) add(ctx context.Context, name string, target ocispec.Descriptor) error {
	var manifest ocispec.Manifest
	if err := readJSON(s.blob(target.Digest), &manifest); err != nil {
		return err
	}
	var config ocispec.Image
	if err := readJSON(s.blob(manifest.Config.Digest), &config); err != nil {
		return err
	}
	if len(config.RootFS.DiffIDs) != len(manifest.Layers) {
		return fmt.Errorf("%d layers but %d diff ids", len(manifest.Layers), len(config.RootFS.DiffIDs))
	}

	// References for containerd's garbage collector, as an import sets them.
	references := map[string]string{"containerd.io/gc.ref.content.config": manifest.Config.Digest.String()}
	for i, layer := range manifest.Layers {
		diff := config.RootFS.DiffIDs[i]
		if err := s.put(ctx, layer, map[string]string{"containerd.io/uncompressed": diff.String()}); err != nil {
			return err
		}
		references[fmt.Sprintf("containerd.io/gc.ref.content.l.%d", i)] = layer.Digest.String()
		if err := s.unpack(ctx, layer, config.RootFS.DiffIDs[:i+1]); err != nil {
			return err
		}
	}
	chain := identity.ChainID(config.RootFS.DiffIDs).String()
	if err := s.put(ctx, manifest.Config, map[string]string{"containerd.io/gc.ref.snapshot." + snapshotter: chain}); err != nil {
		return err
	}
	if err := s.put(ctx, target, references); err != nil {
		return err
	}

	// The kubelet's garbage collection spares pinned images. The second name is how the kubelet asks for an image by its id.
	labels := map[string]string{"io.cri-containerd.image": "managed", "io.cri-containerd.pinned": "pinned"}
	for _, name := range []string{name, manifest.Config.Digest.String()} {
		_, err := s.images.Create(ctx, images.Image{Name: name, Target: target, Labels: labels})
		if err != nil && !errdefs.IsAlreadyExists(err) {
			return err
		}
	}
	return nil
}

// put copies one blob of the layout into the content store.
func (s *store) put(ctx context.Context, desc ocispec.Descriptor, labels map[string]string) error {
	file, err := os.Open(s.blob(desc.Digest))
	if err != nil {
		return err
	}
	defer file.Close()
	err = content.WriteBlob(ctx, s.content, "put-"+desc.Digest.String(), file, desc, content.WithLabels(labels))
	if errdefs.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// unpack makes the snapshot of the topmost of these layers.
func (s *store) unpack(ctx context.Context, layer ocispec.Descriptor, diffs []digest.Digest) error {
	chain := identity.ChainID(diffs).String()
	if _, err := s.snapshots.Stat(ctx, chain); err == nil {
		return nil
	}
	parent := ""
	if len(diffs) > 1 {
		parent = identity.ChainID(diffs[:len(diffs)-1]).String()
	}
	key := "unpack-" + chain
	mounts, err := s.snapshots.Prepare(ctx, key, parent)
	if err != nil {
		return err
	}
	dir, parents, err := upper(mounts)
	if err != nil {
		return err
	}
	file, err := os.Open(s.blob(layer.Digest))
	if err != nil {
		return err
	}
	defer file.Close()
	stream, err := compression.DecompressStream(file)
	if err != nil {
		return err
	}
	defer stream.Close()
	options := []archive.ApplyOpt{archive.WithConvertWhiteout(archive.OverlayConvertWhiteout)}
	if len(parents) > 0 {
		options = append(options, archive.WithParents(parents))
	}
	if _, err := archive.Apply(ctx, dir, stream, options...); err != nil {
		return err
	}
	return s.snapshots.Commit(ctx, chain, key)
}

func (s *store) blob(d digest.Digest) string {
	return filepath.Join(s.layout, ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

// upper is the directory that a snapshot's mount writes to, and those below it: nothing has to be mounted.
func upper(mounts []mount.Mount) (dir string, parents []string, err error) {
	if len(mounts) != 1 {
		return "", nil, fmt.Errorf("%d mounts where one was expected", len(mounts))
	}
	if mounts[0].Type == "bind" {
		return mounts[0].Source, nil, nil
	}
	for _, option := range mounts[0].Options {
		if value, ok := strings.CutPrefix(option, "upperdir="); ok {
			dir = value
		} else if value, ok := strings.CutPrefix(option, "lowerdir="); ok {
			parents = strings.Split(value, ":")
		}
	}
	if dir == "" {
		return "", nil, fmt.Errorf("a %s mount without an upper directory", mounts[0].Type)
	}
	return dir, parents, nil
}

func readJSON(path string, into any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
