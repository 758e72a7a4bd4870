// etcd as it is, but for the size of the files of its write-ahead log: it allocates two of them ahead, 64 MB each, which
// is most of what a fresh cluster would have on disk.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"go.etcd.io/etcd/server/v3/storage/wal"
)

func main() {
	wal.SegmentSizeBytes = 8 * 1000 * 1000
	etcdmain.Main(os.Args)
}
