package main

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
)

// rewriter copies a bolt database so that the same content gives the same bytes.
type rewriter struct {
	epoch     []byte // times, as containerd stores them
	snapshots string // directory of the snapshots, when it is the snapshotter's database
}

// rewrite replaces a database by a fresh copy: no freed pages, sorted insertion, fixed times, disk usage as it would
// be on any file system.
func rewrite(path string, mode os.FileMode, epoch time.Time, snapshots ...string) error {
	encoded, err := epoch.MarshalBinary()
	if err != nil {
		return err
	}
	r := rewriter{epoch: encoded}
	if len(snapshots) > 0 {
		r.snapshots = snapshots[0]
	}
	source, err := bolt.Open(path, mode, &bolt.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer source.Close()
	fresh := path + ".new"
	target, err := bolt.Open(fresh, mode, &bolt.Options{FreelistType: bolt.FreelistArrayType, NoSync: true})
	if err != nil {
		return err
	}
	err = source.View(func(from *bolt.Tx) error {
		return from.ForEach(func(name []byte, bucket *bolt.Bucket) error {
			return r.copy(bucket, target, [][]byte{slices.Clone(name)})
		})
	})
	if err != nil {
		return err
	}
	if err := target.Sync(); err != nil {
		return err
	}
	if err := target.Close(); err != nil {
		return err
	}
	return os.Rename(fresh, path)
}

// copy writes each bucket in a transaction of its own: bolt writes the buckets of one transaction in random order.
func (r rewriter) copy(from *bolt.Bucket, target *bolt.DB, path [][]byte) error {
	err := target.Update(func(tx *bolt.Tx) error {
		to, err := tx.CreateBucketIfNotExists(path[0])
		for _, name := range path[1:] {
			if err != nil {
				return err
			}
			to, err = to.CreateBucketIfNotExists(name)
		}
		if err != nil {
			return err
		}
		if err := to.SetSequence(from.Sequence()); err != nil {
			return err
		}
		return from.ForEach(func(key, value []byte) error {
			if value == nil { // a bucket
				return nil
			}
			value, err := r.value(from, string(key), value)
			if err != nil {
				return err
			}
			return to.Put(slices.Clone(key), slices.Clone(value))
		})
	})
	if err != nil {
		return err
	}
	return from.ForEachBucket(func(name []byte) error {
		return r.copy(from.Bucket(name), target, append(slices.Clone(path), slices.Clone(name)))
	})
}

// value is what stands for a value that depends on the moment or the machine.
func (r rewriter) value(bucket *bolt.Bucket, key string, value []byte) ([]byte, error) {
	switch key {
	case "createdat", "updatedat":
		return r.epoch, nil
	case "size", "inodes":
		id := bucket.Get([]byte("id"))
		if r.snapshots == "" || id == nil {
			return value, nil
		}
		number, _ := binary.Uvarint(id)
		inodes, size, err := usage(filepath.Join(r.snapshots, fmt.Sprint(number), "fs"))
		if key == "inodes" {
			size = inodes
		}
		return binary.AppendVarint(nil, size), err
	}
	return value, nil
}

// usage is what a directory takes in blocks of 4096 bytes: du's answer depends on the file system and on the moment.
func usage(dir string) (inodes, size int64, err error) {
	const block = 4096
	seen := map[uint64]bool{}
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			if seen[stat.Ino] {
				return nil
			}
			seen[stat.Ino] = true
		}
		inodes++
		if info.Mode().IsRegular() {
			size += (info.Size() + block - 1) / block * block
		} else if info.IsDir() {
			size += block
		}
		return nil
	})
	return inodes, size, err
}
