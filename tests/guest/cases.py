"""The cases beside the matrix, by theme."""

import json

from case import Case, Image

MATCHES = "vda matches the host"
AGREES = "the host agrees: vda"
SECTOR = 512
MEGABYTE = 1 << 20


def qemu(*words: str) -> tuple[str, ...]:
    """Arguments that ./run passes on to QEMU as they are."""
    return tuple(f"--qemu-arg={word}" for word in words)


def device(*properties: str) -> tuple[str, ...]:
    """Properties of QEMU's virtio-blk-device."""
    return tuple(f"--device={each}" for each in properties)


def append(*words: str) -> tuple[str, ...]:
    """Boot arguments."""
    return tuple(f"--append={word}" for word in words)


def noise(*sizes: int) -> tuple[Image, ...]:
    """Images of noise, called a, b, …"""
    return tuple(Image(chr(ord("a") + index), size) for index, size in enumerate(sizes))


def disks_of(images: tuple[Image, ...]) -> tuple[str, ...]:
    """The options that attach the images."""
    return tuple(f"--disk={{{image.name}}}" for image in images)


ODD = noise(SECTOR, 513 * SECTOR, MEGABYTE + SECTOR)
EIGHT = noise(*((1 + 37 * index) * SECTOR for index in range(8)))
OTHERS = qemu(
    "-device", "virtio-rng-device,bus=virtio-mmio-bus.7",
    "-device", "virtio-serial-device,bus=virtio-mmio-bus.5",
    "-netdev", "user,id=net0,restrict=on", "-device", "virtio-net-device,netdev=net0,bus=virtio-mmio-bus.2",
)  # fmt: skip
# A disk that the kernel, not ./run, has to find read-only.
READ_ONLY = qemu(
    "-blockdev", "driver=null-co,node-name=ro,size=1048576,read-only=on",
    "-device", "virtio-blk-device,drive=ro,serial=ro",
) + append("overwrite=ro")  # fmt: skip
BLOCKS_OF_4096 = device("logical_block_size=4096", "physical_block_size=4096")

DISKS = [
    Case("disks-of-odd-sizes", ("digest", *disks_of(ODD)), images=ODD,
         says=tuple(f"{name} matches the host" for name in ("vda", "vdb", "vdc")), guest=("disks.# == 3",)),
    Case("disks-of-odd-sizes-legacy", ("digest", *disks_of(ODD), "--transport=mmio-legacy", *append("bs=512")),
         images=ODD, guest=("disks.# == 3", "disks.*.queues.*.requests > 0")),
    Case("verify-odd-sizes", ("verify", "--disk=4096", "--disk=4608", f"--disk={MEGABYTE + SECTOR}"),
         guest=("disks.# == 3", "disks.*.wrong_blocks == 0")),
    Case("disk-beyond-4-gib", ("digest", "--disk={large}", "--depth=32", *append("bs=256k")),
         images=(Image("large", (4 << 30) + (64 << 20), sparse=True),), says=(MATCHES,), guest=("disks.0.bytes == 4362076160",),
         seconds=(0, 400)),
    Case("eight-disks", ("digest", *disks_of(EIGHT), "--queues=2"), images=EIGHT,
         says=tuple(f"vd{letter} matches the host" for letter in "abcdefgh"), guest=("disks.# == 8",)),
    Case("eight-disks-verify", ("verify", *("--disk=256K",) * 8), guest=("disks.# == 8", "disks.*.wrong_blocks == 0")),
    Case("eight-disks-info", ("info", *("--disk=1M",) * 8), guest=("devices.# == 8", 'devices.*.device == "block"')),
    Case("other-devices-around", ("digest", *disks_of(ODD), *OTHERS), images=ODD, guest=("disks.# == 3",)),
    Case("other-devices-around-legacy", ("verify", "--disk=1M", "--disk=1M", "--transport=mmio-legacy", *OTHERS),
         guest=("disks.# == 2", "disks.*.wrong_blocks == 0")),
    Case("other-devices-all-slots-full", ("info", *("--disk=1M",) * 5, *OTHERS),
         guest=("devices.# == 8", 'devices.0.device == "entropy"', 'devices.1.name == "vda"',
                'devices.2.device == "console"', 'devices.3.name == "vdb"', 'devices.5.device == "network"')),
    *(Case(f"entropy-info-{transport}", ("info", f"--transport={transport}", *qemu("-device", "virtio-rng-device")),
           says=("^rng0, slot .*: entropy ", f"^  features accepted .*{feature}"),
           guest=("devices.# == 1", 'devices.0.name == "rng0"', "devices.0.queue_size == 8"))
      for transport, feature in (("mmio", "VERSION_1"), ("mmio-legacy", "ANY_LAYOUT"))),
    Case("random-odd-number", ("random", *append("bytes=33")), says_in_order=("^[0-9a-f]{64}$", "^[0-9a-f]{2}$"),
         guest=("bytes == 33",)),
    # A device that gives fewer bytes than it is asked for, and one that gives none.
    *(Case(f"random-in-pieces-{transport}", ("random", f"--transport={transport}", *append("bytes=100"),
           *qemu("-device", "virtio-rng-device,max-bytes=24,period=100")),
           says_in_order=("^[0-9a-f]{64}$",) * 3 + ("^[0-9a-f]{8}$",), guest=("bytes == 100",), seconds=(0.3, 30))
      for transport in ("mmio", "mmio-legacy")),
    *(Case(f"random-silent-{transport}", ("random", f"--transport={transport}", *append("request_timeout=2"),
           *qemu("-chardev", "null,id=nothing", "-object", "rng-egd,id=none,chardev=nothing",
                 "-device", "virtio-rng-device,rng=none")),
           status=1, seconds=(2, 20), refuses="random: rng0 gives no more bytes: the device did not return a buffer in time")
      for transport in ("mmio", "mmio-legacy")),
    *(Case(f"random-{transport}-{interrupts}", ("random", f"--transport={transport}", f"--interrupts={interrupts}",
                                                 *append("bytes=1000")), guest=("bytes == 1000",))
      for transport, interrupts in (("pci", "plic"), ("pci-legacy", "aplic"), ("pci", "imsic"), ("pci-legacy", "imsic"))),
    Case("random-bytes-refused", ("random", *append("bytes=0")), status=1, refuses="bytes"),
    Case("read-only-digest", ("digest", "--disk={a}", "--read-only"), images=noise(3 * MEGABYTE), says=(MATCHES,)),
    Case("read-only-info", ("info", "--disk=1M", "--read-only"), says=("access +read-only",),
         guest=("devices.0.read_only == true",)),
    Case("read-only-verify", ("verify", *READ_ONLY), status=1, refuses="vda is read-only, and verify writes"),
    Case("read-only-iops", ("iops", *READ_ONLY, *append("rw=randwrite")), status=1,
         refuses="vda is read-only: rw=randwrite"),
    Case("read-only-verify-refused-by-run", ("verify", "--disk=1M", "--read-only"), status=2, refuses="--read-only"),
    Case("blocks-of-4096-digest", ("digest", "--disk={a}", *BLOCKS_OF_4096), images=noise(MEGABYTE + 4096),
         says=(MATCHES,)),
    Case("blocks-of-4096-verify", ("verify", "--disk=1M", *BLOCKS_OF_4096), says=(AGREES,)),
    Case("blocks-of-4096-info", ("info", "--disk=1M", *BLOCKS_OF_4096),
         guest=("devices.0.logical_block_size == 4096", "devices.0.physical_block_size == 4096")),
    *(Case(f"blocks-of-4096-{program}-in-512", (program, "--disk=1M", *BLOCKS_OF_4096, *append("bs=512")), status=1,
           refuses="bs=512 is not a multiple of vda's logical block size, 4096") for program in ("digest", "iops")),
    Case("no-discard", ("verify", "--disk=1M", *device("discard=off")), says=(AGREES,),
         guest=("disks.0.discard == false", "disks.0.write_zeroes == true")),
    Case("no-write-zeroes", ("verify", "--disk=1M", *device("write-zeroes=off")), says=(AGREES,),
         guest=("disks.0.discard == true", "disks.0.write_zeroes == false")),
    Case("small-discards", ("verify", "--disk=1M", *device("max-discard-sectors=8", "max-write-zeroes-sectors=8")),
         says=(AGREES,), guest=("disks.0.discard == true", "disks.0.write_zeroes == true")),
    Case("smaller-discards",
         ("verify", f"--disk={MEGABYTE + SECTOR}", *device("max-discard-sectors=4", "max-write-zeroes-sectors=2")),
         says=("vda, discards are left out: the disk takes 4 sectors in one, and a block has 8$",
               "vda, write-zeroes are left out: the disk takes 2 sectors in one, and a block has 8$",
               "vda, the last sectors are left out, as they fill no block: 1 of 2049$", "with writes only"),
         guest=("disks.0.discard == false", "disks.0.write_zeroes == false")),
    Case("info-of-a-disk", ("info", "--disk=1M", *device("cyls=8", "heads=4", "secs=63", "min_io_size=4096",
                                                        "opt_io_size=65536", "max-discard-sectors=64")),
         says=("^  geometry +8 cylinders, 4 heads, 63 sectors in a track$", "^  I/O size +minimum 4096, optimal 65536 bytes$",
               "^  discard +up to 64 sectors in a segment, 1 segment in a request", "^  secure erase +no$",
               "^  write zeroes .*, may unmap$", "^  write cache +write-back, flushed on request; can be switched$",
               "^  lifetime +not said$"),
         guest=("devices.0.cylinders == 8", "devices.0.heads == 4", "devices.0.sectors == 63",
                "devices.0.minimum_io_size == 4096", "devices.0.optimal_io_size == 65536", "devices.0.can_flush == true",
                "devices.0.can_switch_write_cache == true", "devices.0.max_discard_sectors == 64",
                "devices.0.max_discard_seg == 1", "devices.0.max_secure_erase_sectors == 0")),
    Case("info-without-a-cache", ("info", "--disk=1M", *append("features_off=flush,geometry")),
         says=("^  geometry +not said$", "^  write cache +none: every write is durable when it ends$"),
         guest=("devices.0.can_flush == false", "devices.0.write_cache == false", "devices.0.cylinders == 0")),
    Case("info-write-through", ("info", "--disk=1M", *device("write-cache=off")),
         says=("^  write cache +write-through; can be switched$",), guest=("devices.0.write_cache == false",)),
    *(Case(f"registers-{transport}", ("registers", "--disk=1M", "--queues=2", f"--transport={transport}", *OTHERS),
           says=(*rows, "^  0x000  MagicValue +R +0x74726976  \"virt\"", "^  0x008  DeviceID +R +0x00000002  block",
                 "^ queue 1 \\(QueueSel = 1\\)$", "^  0x050  QueueNotify +W$", "^  0x100  capacity +R +2048 ",
                 "^  0x120  writeback +RW +1 ", "^  0x108  size_max +R +not there without SIZE_MAX$",
                 "DeviceID +R +0x00000001  network", "^  0x060  InterruptStatus +R +0x0000000"),
           guest=("devices.# == 4", f"devices.*.legacy == {legacy}"))
      for transport, legacy, rows in (
          ("mmio", "false", ("layout of VIRTIO 1.x$", "^  0x010  DeviceFeatures +R .* bits 32 to 63: VERSION_1",
                       "^  0x044  QueueReady +RW +0x00000001  the device uses", "^  0x0fc  ConfigGeneration +R ",
                       "^  0x070  Status +RW +0x0000000f  bits: ACKNOWLEDGE DRIVER DRIVER_OK FEATURES_OK$",
                       "^  0x0b0  SHMLenLow +R +0xffffffff  there is no shared memory$")),
          ("mmio-legacy", "true", ("the legacy layout$", "^  0x010  HostFeatures +R ", "^  0x040  QueuePFN +RW .* the queue lies in page",
                              "^  0x070  Status +RW +0x00000007  bits: ACKNOWLEDGE DRIVER DRIVER_OK$")))),
    Case("registers-of-nothing", ("registers",), says=("there is no VIRTIO device in any of the 8 slots",)),
    Case("no-write-cache", ("verify", "--disk=1M", *device("write-cache=off", "config-wce=off")), says=(AGREES,)),
    Case("no-request-merging", ("verify", "--disk=1M", *device("request-merging=off")), says=(AGREES,)),
    Case("access-platform-offered", ("verify", "--disk=1M", *device("iommu_platform=on")), says=(AGREES,)),
    Case("features-declined",
         ("verify", "--disk=1M", "--queues=4",
          *append("features_off=event_idx,indirect_desc,seg_max,flush,topology,config_wce,mq,discard,write_zeroes")),
         says=(AGREES,), guest=("disks.0.queues.# == 1", "disks.0.discard == false", "disks.0.write_zeroes == false")),
    Case("qcow2-digest", ("digest", "--disk={q}"), images=(Image("q", 4 * MEGABYTE, qcow2=True),), says=(MATCHES,)),
    Case("qcow2-verify", ("verify", "--disk={q}", "--destroy"), images=(Image("q", 4 * MEGABYTE, qcow2=True),),
         says=(AGREES,)),
    Case("slow-disk",
         ("digest", '--disk=json:{"driver":"null-co","size":1048576,"read-zeroes":true,"latency-ns":50000000}',
          "--depth=4", *append("poll=off")), says=(MATCHES,), seconds=(0.2, 60)),
    Case("sixty-four-queues", ("verify", "--disk=1M", "--queues=64", "--queue-size=4", "--depth=512"), says=(AGREES,),
         guest=("disks.0.queues.# == 64", "disks.0.queues.*.requests > 0")),
]  # fmt: skip


ALL_COUNT = ("disks.0.resets == 0", "disks.0.lost_interrupts == 0",
             *(f"disks.0.queues.*.{counter} > 0" for counter in ("requests", "notifications", "interrupts")))
# What the ring takes of a request: a table; and, without INDIRECT_DESC, a chain of three descriptors. And how it is asked for
# notifications and interrupts.
PACKED_RINGS = {
    "": (),
    "-chains": ("indirect_desc=off",),
    "-flags": ("event_idx=off",),
    "-chains-flags": ("indirect_desc=off", "event_idx=off"),
}
FOUR_QUEUES = ("--harts=2", "--queues=4")

PACKED = [
    Case("packed-info", ("info", "--disk=1M", *device("packed=on")), says=("^  features accepted .* RING_PACKED",)),
    *(Case(f"packed-digest{name}{on}", ("digest", "--disk={a}", *machine, *device("packed=on", *more), *append("bs=4k", "poll=off")),
           images=noise(8 * MEGABYTE), says=(MATCHES,), guest=ALL_COUNT)
      for name, more in PACKED_RINGS.items() for on, machine in (("", ()), ("-four-queues", FOUR_QUEUES))),
    *(Case(f"packed-verify{name}{on}", ("verify", "--disk=4M", *machine, *device("packed=on", *more), *append("poll=off")),
           says=(AGREES,), guest=(*ALL_COUNT, "disks.0.wrong_blocks == 0"))
      for name, more in PACKED_RINGS.items() for on, machine in (("", ()), ("-four-queues", FOUR_QUEUES))),
    # Many laps of a small ring, which is full all the time. Of 4 descriptors, a ring of chains has 3.
    *(Case(f"packed-verify{name}-queue-of-{size}",
           ("verify", "--disk=4M", f"--queue-size={size}", "--depth=128", *device("packed=on", *more), *append("poll=off")),
           says=(AGREES,), guest=(*ALL_COUNT, "disks.0.wrong_blocks == 0", "disks.0.waited > 0"))
      for name, more in PACKED_RINGS.items() for size in (4, 16)),
    Case("packed-verify-polled", ("verify", "--disk=4M", *FOUR_QUEUES, *device("packed=on"), *append("poll=always")),
         says=(AGREES,), guest=("disks.0.resets == 0", "disks.0.wrong_blocks == 0")),
    Case("packed-off", ("info", "--disk=1M", *device("packed=on"), *append("features_off=ring_packed")),
         says=("^  features offered .* RING_PACKED", "^  features accepted ((?!RING_PACKED).)*$")),
    # QEMU offers no packed ring there.
    Case("packed-legacy", ("verify", "--disk=1M", "--transport=mmio-legacy", *device("packed=on")), says=(AGREES,)),
    Case("packed-legacy-info", ("info", "--disk=1M", "--transport=mmio-legacy", *device("packed=on")),
         says=("^  features accepted ((?!RING_PACKED).)*$",)),
    # One notification and one interrupt for a batch of 32, whatever the ring.
    *(Case(f"{kind}-notifications-and-interrupts-{event_idx}",
           ("iops", "--disk=null:1G", "--icount", "--harts=1", *device(f"packed={packed}", f"event_idx={event_idx}"),
            *append("poll=off", "floor=off", "ios=20000", "depth=32")),
           guest=("rows.# == 1", "rows.0.ios == 20000", "rows.0.notifications == 625", "rows.0.interrupts == 625"))
      for kind, packed in (("split", "off"), ("packed", "on")) for event_idx in ("on", "off")),
    Case("packed-random", ("random", *append("bytes=33"), *qemu("-device", "virtio-rng-device,packed=on")),
         says_in_order=("^[0-9a-f]{64}$", "^[0-9a-f]{2}$"), guest=("bytes == 33",)),
    Case("packed-random-in-pieces",
         ("random", *append("bytes=100", "features_off=event_idx"),
          *qemu("-device", "virtio-rng-device,max-bytes=24,period=100,packed=on")),
         says_in_order=("^[0-9a-f]{64}$",) * 3 + ("^[0-9a-f]{8}$",), guest=("bytes == 100",), seconds=(0.3, 30)),
    Case("packed-entropy-info", ("info", *qemu("-device", "virtio-rng-device,packed=on")),
         says=("^rng0, slot .*: entropy ", "^  features accepted .* RING_PACKED"), guest=("devices.0.queue_size == 8",)),
]  # fmt: skip


def foreign(image: str, serial: str | None) -> tuple[str, ...]:
    """A disk with the image of that name that ./run did not attach; it comes before those that it did."""
    told = "" if serial is None else f",serial={serial}"
    return qemu("-blockdev", f"driver=file,node-name=foreign-{image},filename={{{image}}}",
                "-device", f"virtio-blk-device,drive=foreign-{image}{told}")  # fmt: skip


PRECIOUS = noise(4 * MEGABYTE)
NOT_NAMED = r"vda \(serial '.*'\) is not overwritten: no overwrite= names its serial number; \./run names"

WRONG_DISK = [
    # Of the same size as the disk of ./run, and of another.
    *(Case(f"foreign-disk-{program}-{size}", (program, f"--disk={size}M", *foreign("a", "precious")), images=PRECIOUS,
           untouched=("a",), status=1, says=says)
      for size in (4, 8) for program, says in (
          ("verify", (r"^error: verify: vda \(serial 'precious'\) is left out, not overwritten: no overwrite= names",
                      "the host agrees: vdb")),
          ("digest", ("vdb matches the host", "vda is not checked: ./run did not attach it .* 'precious'")))),
    *(Case(f"foreign-disk-{name}", (*arguments, *foreign("a", "precious")), images=PRECIOUS, untouched=("a",), status=1,
           refuses=NOT_NAMED) for name, arguments in (
               ("iops", ("iops", *append("rw=randwrite"))),
               ("bench-write", ("bench", "--disk=1M", "--rw=write", "--filename=vda")),
               ("bench-trim", ("bench", "--disk=1M", "--rw=randtrim", "--filename=vda:vdb")),
               ("bench-verify", ("bench", "--disk=1M", "--rw=randwrite", "--verify=crc32c")))),
    Case("foreign-disk-demo", ("demo", *foreign("a", "precious")), images=PRECIOUS, untouched=("a",), status=1,
         says=("vda is not checked: ./run did not attach it", "demo.ext4 MISMATCH: the guest reported no checksum")),
    # Reading is for all.
    Case("foreign-disk-iops-reads", ("iops", *foreign("a", "precious"), *append("ios=1000")), images=PRECIOUS,
         untouched=("a",)),
    Case("foreign-disk-bench-reads", ("bench", "--disk=1M", "--rw=randread", *foreign("a", None)), images=PRECIOUS,
         untouched=("a",)),
    # What cannot be named, or is named for two.
    *(Case(f"foreign-disk-{name}", ("verify", *foreign("a", serial), *append(f"overwrite={named}")), images=PRECIOUS,
           untouched=("a",), status=1, refuses=refuses) for name, serial, named, refuses in (
               ("without-a-serial", None, "x", "its serial number is empty"),
               ("named-otherwise", "precious", "preciou,preciouss,PRECIOUS", "no overwrite= names its serial number"))),
    Case("foreign-disks-of-one-serial",
         ("verify", "--disk=1M", *foreign("a", "twin"), *foreign("b", "twin"), *append("overwrite=twin")),
         images=noise(MEGABYTE, MEGABYTE + SECTOR), untouched=("a", "b"), status=1,
         says=("^error: verify: vda .* another disk has the same serial", "^error: verify: vdb .* another disk has the same",
               "the host agrees: vdc")),
    # Given up by name, also cut off after 20 bytes; verified by the guest, and the host says that it did not look.
    *(Case(f"given-up-{name}", ("verify", *foreign("a", serial), *append(f"overwrite={named}")), images=PRECIOUS,
           status=1, says=("^verify: vda, 1024 blocks of 4096 bytes are as they should be",
                           "vda is not checked: ./run did not attach it")) for name, serial, named in (
               ("by-name", "mine", "others,mine"),
               ("with-spaces-and-commas", "a b,,c%", "a%20b%2Cc%25"),
               ("with-20-bytes", "a-serial-of-more-than-20-bytes", "a-serial-of-more-tha"))),
    # With a command line of the user's, the kernel is told of no disk at all.
    Case("overwrite-not-said", ("info", "--disk=1M", *qemu("-append", "program=verify")), status=1,
         refuses=r"vda \(serial 'inflight0-[0-9a-f]{8}'\) is left out, not overwritten: no overwrite= names"),
    Case("serial-that-begins-a-line",
         ("info", *qemu("-blockdev", "driver=null-co,node-name=forged,size=1048576",
                        "-device", 'virtio-blk-device,drive=forged,serial=\n@result {"a":1}')),
         says=(r"serial +\\u000a@result \{\\u0022a\\u0022:1\}$",),
         guest=("devices.# == 1", 'devices.0.serial == "\\n@result {\\"a\\":1}"')),
    Case("serial-in-a-refusal",
         ("verify", *qemu("-blockdev", "driver=null-co,node-name=forged,size=1048576",
                          "-device", 'virtio-blk-device,drive=forged,serial=\n@result {"a":1}')),
         status=1, refuses=r"vda \(serial '\\u000a@result "),
]  # fmt: skip

SIZES = [
    *(Case(f"digest-depth-{depth}", ("digest", "--disk={a}", f"--depth={depth}", *append("bs=4k")),
           images=noise(4 * MEGABYTE), says=(MATCHES,)) for depth in (1, 7, 1000)),
    *(Case(f"verify-depth-{depth}", ("verify", "--disk=4M", f"--depth={depth}", "--queues=2"), says=(AGREES,))
      for depth in (1, 7, 1000)),
    Case("large-blocks", ("digest", "--disk={a}", "--depth=3", *append("bs=8m")), images=noise(20 * MEGABYTE + SECTOR),
         says=(MATCHES,)),
    Case("small-memory-digest", ("digest", "--disk={a}", "--memory=32M"), images=noise(4 * MEGABYTE), says=(MATCHES,)),
    Case("small-memory-verify", ("verify", "--disk=4M", "--memory=32M"), says=(AGREES,)),
    Case("buffers-beyond-memory", ("digest", "--disk=1M", "--depth=60000"), status=1,
         refuses="depth=60000 with blocks of 65536 bytes takes .*: use less of either, or give the machine more"),
    Case("frames-beyond-memory", ("iops", "--disk=null:1G", "--memory=64M", "--depth=60000", *append("bs=512")),
         status=1, refuses="depth=60000 takes more coroutine frames than there is memory for: use less"),
]  # fmt: skip

# A boot argument that is wrong, and what the refusal says of it.
WRONG_BOOT_ARGUMENTS = {
    "colour=red": "boot argument 'colour=red' is unknown; there are program depth",
    "depth=0": "depth is a number of requests from 1 to 65536",
    "depth=65537": "depth is a number of requests from 1 to 65536",
    "depth=many": "depth is a number of requests from 1 to 65536",
    "bs=1000": "bs is a size from 512 to 64m",
    "rw=sideways": "rw is one of randread",
    "seconds=0": "seconds is a number from 1 to 3600",
    "ios=0": "ios is a number of requests",
    "poll=sometimes": "poll is one of off, adaptive, always",
    "queues=0": "queues is a number from 1 to 64",
    "queue_size=24": "queue_size is a power of two from 4 to 32768",
    "features_off=mq,wings": "features_off is a list, with commas, of event_idx",
    "interrupts=maybe": "interrupts is one of on \\(hart 0",
    "tasks=2": "tasks is 0 or 1",
    "icount=2": "icount is 0 or 1",
    "overwrite=a,,b": "overwrite is a list, with commas, of serial numbers of 1 to 20 bytes",
}

BAD_INPUT = [
    *(Case(f"no-disk-{program}", (program,), status=1, refuses="there is no virtio-blk device in any of the 8 slots")
      for program in ("digest", "verify", "iops")),
    Case("no-disk-info", ("info",), says=("there is no VIRTIO device in any of the 8 slots",),
         guest=("devices.# == 0",)),
    Case("no-disk-but-another-device", ("digest", *OTHERS), status=1, refuses="there is no virtio-blk device"),
    Case("empty-disk", ("digest", *qemu("-blockdev", "driver=null-co,node-name=none,size=0",
                                        "-device", "virtio-blk-device,drive=none")),
         status=1, refuses="vda is empty: its capacity is 0 sectors"),
    *(Case(f"boot-argument-{argument}", ("info", *append(argument)), status=1, refuses=refusal)
      for argument, refusal in WRONG_BOOT_ARGUMENTS.items()),
    Case("boot-words-for-linux",
         ("info", *qemu("-append", "console=ttyS0 root=/dev/vda rw earlycon quiet panic=1 program=info \x1b.x=1 -- init")),
         status=1, refuses=r"boot argument '\\x1b.x=1' is unknown"),
    Case("boot-words-for-linux-alone",
         ("digest", "--disk={a}", *qemu("-append", "console=ttyS0 root=/dev/vda rw earlycon quiet program=digest -- init")),
         images=noise(MEGABYTE), says=(MATCHES, "^note: taken, .*: console=ttyS0 root=/dev/vda rw earlycon quiet --$")),
    # Without ./run, which would not let it pass.
    Case("unknown-program", ("info", *qemu("-append", "program=tetris")), status=1,
         refuses="there is no program 'tetris'", says=("^  bench ", "^  digest ", "^  verify ")),
    Case("unknown-program-refused-by-run", ("tetris",), status=2, refuses="unknown program 'tetris'"),
    Case("costs-without-icount", ("costs",), status=1,
         refuses=r"costs needs a machine that counts instructions: \./run costs --icount$"),
]  # fmt: skip

# Each NUMA node has a PLIC of its own in QEMU's tree, and the one that serves the slots does not serve the harts of the other.
# The second node's PLIC interrupts no hart at all in QEMU 7.2 (mended in 8.0): the disk is polled there.
NUMA = qemu(
    *(word for node, harts in enumerate(("0-1", "2-3")) for word in (
        "-object", f"memory-backend-ram,id=m{node},size=128M", "-numa", f"node,memdev=m{node},cpus={harts}"))
)  # fmt: skip

HARTS = [
    *(Case(f"harts-that-the-plic-does-not-serve-interrupts-{routing}",
           ("verify", "--disk=4M", "--harts=4", "--queues=4", *NUMA, *append("poll=off", f"interrupts={routing}")),
           says=(AGREES,), guest=("disks.0.queues.*.requests > 0", "disks.0.lost_interrupts == 0"), seconds=(0, 20))
      for routing in ("on", "any")),
    Case("two-harts", ("verify", "--disk=1M", "--harts=2"), says=(AGREES,)),
    Case("a-queue-for-each-of-four-harts",
         ("digest", "--disk={a}", "--harts=4", "--queues=4", *append("poll=off")), images=noise(16 * MEGABYTE),
         says=(MATCHES,), guest=("disks.0.queues.*.requests > 0", "disks.0.queues.*.interrupts > 0")),
    Case("more-harts-than-queues", ("verify", "--disk=4M", "--harts=8", "--queues=3"), says=(AGREES,),
         guest=("disks.0.sent > 0",)),
    Case("more-queues-than-harts", ("verify", "--disk=4M", "--harts=3", "--queues=8"), says=(AGREES,),
         guest=("disks.0.queues.*.requests > 0", "disks.0.sent == 0")),
    Case("interrupts-for-any-hart",
         ("verify", "--disk=4M", "--harts=4", "--queues=4", *append("interrupts=any", "poll=off")), says=(AGREES,)),
    Case("interrupts-between-harts-by-the-firmware",
         ("verify", "--disk=2M", "--harts=4", *qemu("-machine", "aclint=off"), *append("poll=off")), says=(AGREES,)),
    Case("iops-of-two-harts", ("iops", "--disk=null:1G", "--harts=2", "--queues=2", *append("ios=20000")),
         says=("^  hart 1: ", "^  queue 1, "), guest=("harts.# == 2", "harts.*.iops > 0")),
    Case("four-harts", ("digest", "--disk={a}", "--harts=4"), images=noise(4 * MEGABYTE), says=(MATCHES,)),
    # Whichever hart comes first: the firmware lets them race.
    Case("twenty-boots-of-four-harts", ("info", "--disk=1M", "--harts=4"), says=("^inflight on 4 harts",), times=20,
         seconds=(0, 20)),
]  # fmt: skip


def faulty(size: int, **rule: str | int | bool) -> str:
    """A disk that QEMU's blkdebug makes fail by this rule. ./run takes it for a URI."""
    injected = {"event": "none", "errno": 5, "once": False, "immediately": False} | rule
    noise_free = {"driver": "null-co", "size": size, "read-zeroes": True}
    disk = {"driver": "raw", "file": {"driver": "blkdebug", "image": noise_free, "inject-error": [injected]}}
    return "--disk=json:" + json.dumps(disk, separators=(",", ":"))


UNMERGED = device("request-merging=off")  # or the error is that of all requests that QEMU made one of
FAULTS = [
    *(Case(f"read-error-{transport}",
           ("digest", faulty(MEGABYTE, iotype="read", sector=1001), f"--transport={transport}", *UNMERGED,
            *append("bs=512", "poll=off")),
           status=1, refuses="digest: vda cannot be read at sector 1001: io_error$", seconds=(0, 25))
      for transport in ("mmio", "mmio-legacy")),
    Case("read-error-spares-the-next-disk",
         ("digest", faulty(MEGABYTE, iotype="read", sector=8), "--disk={a}", "--queues=4"), images=noise(MEGABYTE),
         status=1, refuses="digest: vda cannot be read at sector 0: io_error$", says=("^digest: vdb [0-9]+ 1048576",),
         guest=("disks.# == 1", 'disks.0.name == "vdb"'), seconds=(0, 25)),
    Case("read-error-in-iops", ("iops", faulty(MEGABYTE, iotype="read"), *append("ios=1000")), status=1,
         refuses="iops: a request failed: io_error$", seconds=(0, 25)),
    *(Case(f"{operation}-error-in-verify", ("verify", "--destroy", faulty(MEGABYTE, iotype=operation, **where)),
           status=1, refuses=f"verify: {operation} of block [0-9]+ .* of vda failed: io_error$", seconds=(0, 25))
      for operation, where in (("write", {"sector": 1024}), ("flush", {}), ("discard", {}), ("write-zeroes", {}))),
]  # fmt: skip

QUEUES_RESET = "^note: interrupts of vda had stopped: the queues that send them were reset$"

INTERRUPTS = [
    Case("without-interrupts-it-hangs", ("digest", "--disk=1M", *append("interrupts=off", "poll=off"), "--timeout=5"),
         status=124, says=("^run: no progress for 5 s",), seconds=(5, 20)),
    Case("with-interrupts-it-does-not-hang",
         ("digest", "--disk=1M", *append("interrupts=on", "poll=off"), "--timeout=5"),
         says=(MATCHES,), guest=("disks.0.interrupts > 0",)),
    Case("polling-needs-no-interrupts",
         ("digest", "--disk=1M", *append("interrupts=off", "poll=always"), "--timeout=5"), says=(MATCHES,),
         guest=("disks.0.interrupts == 0", "disks.0.queues.*.interrupts == 0")),
    # The watchdog alone finds completions. After three times, a queue is reset by itself, which QEMU does on PCI only.
    *(Case(f"interrupts-that-have-stopped-{name}",
           ("digest", "--disk=1M", "--depth=32", *machine,
            *append("interrupts=off", "poll=off", "bs=4k", "request_timeout=1", *words)),
           says=(MATCHES, *notes), guest=counts, seconds=(1, 40))
      for name, machine, words, notes, counts in (
          ("pci", ("--transport=pci",), (), (QUEUES_RESET,), ("disks.0.queue_resets > 0", "disks.0.resets == 0")),
          ("pci-messages", ("--transport=pci", "--interrupts=imsic"), (), (QUEUES_RESET,),
           ("disks.0.queue_resets > 0", "disks.0.resets == 0")),
          ("pci-packed", ("--transport=pci", *device("packed=on")), (), (QUEUES_RESET,),
           ("disks.0.queue_resets > 0", "disks.0.resets == 0")),
          ("pci-off", ("--transport=pci",), ("features_off=ring_reset",), (), ("disks.0.queue_resets == 0", "disks.0.resets == 0")),
          ("mmio", (), (), ("^note: vda is being reset$",), ("disks.0.queue_resets == 0", "disks.0.resets == 1")))),
    *(Case(f"interrupts-through-the-{name}", ("info", f"--interrupts={name}"),
           says=(f"^inflight on 1 hart, interrupts through the {name.upper()}, ",), guest=(f'interrupts == "{name}"',))
      for name in ("plic", "aplic", "imsic")),
    Case("interrupts-of-a-hart-of-its-own-through-the-imsic",
         ("verify", "--disk=1M", "--disk=1M", "--harts=4", "--interrupts=imsic", *qemu("-machine", "aia-guests=3"),
          *append("interrupts=any", "poll=off")), says=(AGREES,), guest=("disks.# == 2", "disks.*.lost_interrupts == 0")),
    # Nearly every request of hart 1 makes two interrupts between harts, without which the job stands still.
    Case("interrupts-between-harts-by-the-imsic",
         ("bench", "--disk=null:64M", "--harts=2", "--queues=1", "--interrupts=imsic", "--rw=randread", "--bs=512",
          "--iodepth=1", "--numjobs=2", "--number_ios=25000", "--timeout=20", *append("poll=off")),
         guest=("groups.0.ios == 50000", "groups.0.harts.1.sleeps > 20000")),
    *(Case(f"panic-stops-all-harts-by-the-{name}", ("crash", "--harts=4", f"--interrupts={name}"), status=101,
           says=("^panic: null access",), says_not=("does not stop",)) for name in ("aplic", "imsic")),
    *(Case(f"soak-{name}", ("soak", "--disk=8M", "--harts=2", "--queues=2", f"--interrupts={name}",
                            *append("ios=2000", "poll=off")),
           guest=("disks.0.mismatches == 0", "disks.0.in_flight == 0", "disks.0.reads > 0")) for name in ("aplic", "imsic")),
    # The second socket's APLIC serves the slots. In direct mode it reaches that socket's harts only; with the IMSIC, all.
    *(Case(f"two-sockets-{name}", ("verify", "--disk=1M", "--harts=4", "--queues=4", f"--interrupts={name}", *NUMA,
                                   *append("poll=off")), says=(AGREES,), seconds=(0, 20))
      for name in ("aplic", "imsic")),
    Case("adaptive-polling", ("verify", "--disk=4M", "--queues=2", *append("poll=adaptive")), says=(AGREES,)),
]  # fmt: skip


def code(function: str) -> str:
    """The address of a coroutine in a table of tasks, as ./run names it."""
    return rf"in 0x[0-9a-f]+  inflight::kernel::{function} \(.*\.cpp:[0-9]+\)$"


# Of each kind of crash: the panic, where it was, and the coroutine or function.
CRASHES = {
    "null": ("null access: store page fault, value 0x0", "pc", "store_to_nowhere"),
    "stack": ("stack overflow of hart {hart}: store page fault, value 0x[0-9a-f]+", "pc", "overflow_stack"),
    "text": ("write to the kernel's code: store page fault, value 0x80200000", "pc", "store_to_text"),
    "rodata": ("write to read-only data: store page fault, value 0x[0-9a-f]+", "pc", "store_to_constant"),
    "data": ("jump into data: instruction page fault, value 0x[0-9a-f]+", "at", "jump_into_data"),
}
NO_TRANSLATION = qemu("-cpu", "rv64,mmu=off")


def crash(kind: str, harts: int) -> Case:
    """The last hart crashes."""
    words, where, function = CRASHES[kind]
    return Case(f"panic-{kind}-of-{harts}", ("crash", f"--harts={harts}", *append(f"kind={kind}")), status=101,
                says_in_order=(rf"^panic: {words.format(hart=harts - 1)} \(hart {harts - 1}\)$",
                               rf"^  {where} 0x[0-9a-f]+  .*{function}.* \(.*src/programs/crash\.cpp:[0-9]+\)$",
                               "^  #0 store, ", "^  #1 caller, ", "^  #[23] crash, ",
                               f"^tasks of hart {harts - 1}:$", "^  0x[0-9a-f]+ store: running, for caller, "))  # fmt: skip


PANIC = [
    Case("panic", ("crash", "--harts=1"), status=101,
         says=(r"^panic: null access: store page fault, value 0x0 \(hart 0\)",
               r"^  pc 0x[0-9a-f]+  .*store_to_nowhere.* \(.*src/programs/crash\.cpp:[0-9]+\)",
               r"^  at 0x[0-9a-f]+  .*(sync_wait|kernel_main).* \(.*:[0-9]+\)", r"^   ra 0x[0-9a-f]{16} +sp 0x[0-9a-f]{16}",
               r" t6 0x[0-9a-f]{16}"),
         says_in_order=(
             "^panic: null access",
             "^the running task, and who awaits it:$",
             rf"^  #0 store, {code('store_to_nowhere')}",
             rf"^  #1 caller, {code('call_crash')}",
             rf"^  #2 crash, {code('run_crash')}",
             "^tasks of hart 0:$",
             rf"^  0x[0-9a-f]+ crash: awaits caller, .*, {code('run_crash')}",
             rf"^  0x[0-9a-f]+ waiter: waits for an event, for crash, .*, {code('wait_for')}",
             rf"^  0x[0-9a-f]+ queuer: waits for a semaphore, for crash, .*, {code('wait_in_line')}",
             rf"^  0x[0-9a-f]+ \(unnamed\): waits for a time, for crash, .*, {code('sleep')}",
             "^  0x[0-9a-f]+ caller: awaits store, for crash, ",
             "^  0x[0-9a-f]+ store: running, for caller, ",
         )),
    # The others have stopped, so what is said of them is exact.
    Case("panic-of-four-harts", ("crash", "--harts=4"), status=101,
         says_in_order=(r"^panic: null access: .* \(hart 3\)$", "^the running task, and who awaits it:$",
                        "^tasks of hart 3:$", "^  0x[0-9a-f]+ store: running, for caller, ",
                        "^tasks of hart 0:$", r"^  0x[0-9a-f]+ crash: awaits \(unnamed\), ",
                        "^  0x[0-9a-f]+ caller: awaits store, for ", "^tasks of hart 1:$", "^  none$",
                        "^tasks of hart 2:$", "^  none$")),
    Case("panic-names-what-it-would-reach", ("crash", *append("kind=rodata")), status=101,
         says=(r"^  to 0x[0-9a-f]+  inflight::kernel::\(anonymous namespace\)::constant$",)),
    Case("panic-names-the-data-it-ran", ("crash", *append("kind=data")), status=101,
         says=(r"^  pc 0x[0-9a-f]+  inflight::kernel::\(anonymous namespace\)::instructions$",)),
    *(crash(kind, harts) for kind in CRASHES for harts in (1, 3)),
    # Without translation, a round of the executor sees it afterwards.
    *(Case(f"panic-stack-without-mmu-of-{harts}",
           ("crash", f"--harts={harts}", *append("kind=stack"), *NO_TRANSLATION), status=101,
           says_in_order=(rf"^panic: stack overflow of hart {harts - 1} \(hart {harts - 1}\)$",
                          "^  at 0x[0-9a-f]+  .*stack_watch"))
      for harts in (1, 3)),
    Case("panic-null-without-mmu", ("crash", "--harts=1", *append("kind=null"), *NO_TRANSLATION), status=101,
         says=(r"^panic: null access: store access fault, value 0x0 \(hart 0\)$",)),
    Case("verify-without-mmu", ("verify", "--disk=4M", "--harts=2", "--queues=2", *NO_TRANSLATION), says=(AGREES,)),
    Case("panic-of-no-kind", ("crash", *append("kind=heap")), status=1,
         refuses="kind is what crash does: one of null, stack, text, rodata, data"),
]  # fmt: skip

TASKS = [
    Case("tasks-at-the-end", ("info", *append("tasks=1")),
         says_in_order=("^no task is running$", "^tasks of hart 0:$", "^  0x[0-9a-f]+ watch: waits for a time")),
    # More tasks than are printed.
    Case("tasks-of-a-standstill",
         ("digest", "--disk=1M", "--depth=60", "--harts=1",
          *append("interrupts=off", "poll=off", "tasks=1", "request_timeout=0"), "--timeout=8"),
         status=124, seconds=(8, 25), # the disk is asked for its serial number for 3 s, and nothing moves for 2 s
         says_in_order=("^no task has been resumed for two seconds$", "^  #0 watch, ", "^tasks of hart 0:$",
                        "^  0x[0-9a-f]+ digest: waits for its tasks, ",
                        "^  0x[0-9a-f]+ part: waits for its tasks, ",
                        *("^  0x[0-9a-f]+ reader: waits for a block request, for part, ",) * 35, "^  and 25 more$",
                        "^run: no progress")),
]  # fmt: skip



def job(*options: str, disk: str = "--disk=16M") -> tuple[str, ...]:
    """One job of bench, in words."""
    return ("bench", disk, *(f"--{option}" for option in options))


FIRST = "jobs.0"
WHOLE = 16 * MEGABYTE

BENCH = [
    Case("bench-job-file", ("bench", "bench/jobs/example.fio", "--disk=64M", "--queues=2"),
         says=(r"^shallow: \(groupid=0, jobs=1\): err= 0", r"^checked: \(groupid=1, jobs=1\): err= 0",
               "^Run status group 1", "^  boot to first read="),
         guest=("jobs.# == 3", "jobs.*.error == 0", "jobs.2.write.bytes == 33554432", "jobs.2.read.bytes == 33554432",
                "jobs.2.sync.ios == 31", "jobs.0.read.ios > 0", "jobs.1.read.ios > 0", "groups.# == 2",
                "groups.0.queues.*.requests > 0")),
    # Every pattern, once over the disk: as many bytes as it has, each way.
    *(Case(f"bench-{rw}", job(f"rw={rw}", "bs=16k", "iodepth=8", "size=4m"),
           guest=(f"{FIRST}.error == 0", *(f"{FIRST}.{what}.bytes == {4 * MEGABYTE}" for what in moved)))
      for rw, moved in (("read", ("read",)), ("write", ("write",)), ("randread", ("read",)), ("randwrite", ("write",)),
                        ("trim", ("trim",)), ("randtrim", ("trim",)))),
    Case("bench-randrw", job("rw=randrw", "rwmixread=80", "iodepth=16", "bs=4k"),
         guest=(f"{FIRST}.read.ios > 3100", f"{FIRST}.read.ios <= 3450", f"{FIRST}.write.ios > 600")),
    Case("bench-trimwrite", job("rw=trimwrite", "bs=16k", "iodepth=4", "size=4m"),
         guest=(f"{FIRST}.trim.bytes == {4 * MEGABYTE}", f"{FIRST}.write.bytes == {4 * MEGABYTE}", f"{FIRST}.error == 0")),
    Case("bench-sizes", job("rw=rw", "bssplit=4k/50:16k/30:64k/20", "iodepth=8", "loops=2"),
         guest=(f"{FIRST}.error == 0", f"{FIRST}.read.ios > 100", f"{FIRST}.write.ios > 100")),
    *(Case(f"bench-verify-{name}", job("verify=crc32c", "iodepth=16", *options),
           guest=(f"{FIRST}.error == 0", f"{FIRST}.write.ios > 0", f"{FIRST}.read.ios > 0"))
      for name, options in (("random", ("rw=randwrite", "bs=4k")), ("sequential", ("rw=write", "bs=32k", "fsync=16")),
                            ("sizes", ("rw=randwrite", "bssplit=4k/50:16k/50", "loops=2")),
                            ("anywhere", ("rw=randwrite", "bs=4k", "norandommap")),
                            ("zipf", ("rw=randwrite", "bs=4k", "random_distribution=zipf:1.1")),
                            ("mixed", ("rw=randrw", "bs=4k")))),
    Case("bench-rate", job("rw=randread", "rate_iops=500", "number_ios=500", "iodepth=4"),
         guest=(f"{FIRST}.elapsed >= 9900000", f"{FIRST}.elapsed <= 20000000", f"{FIRST}.read.ios == 500")),
    Case("bench-thinktime", job("rw=randread", "thinktime=1000", "number_ios=200", "iodepth=4"),
         guest=(f"{FIRST}.elapsed >= 1990000", f"{FIRST}.depth_at_submission.0 == 200")),
    Case("bench-runtime", job("rw=randread", "ramp_time=1", "runtime=2", "time_based", "iodepth=4"),
         guest=(f"{FIRST}.elapsed >= 19900000", f"{FIRST}.elapsed <= 21000000", f"{FIRST}.read.ios > 4096")),
    Case("bench-batches", job("rw=randread", "iodepth=32", "iodepth_batch_submit=8", "iodepth_batch_complete_min=8"),
         guest=(f"{FIRST}.read.ios == 4096", f"{FIRST}.error == 0")),
    Case("bench-two-disks", (*job("rw=randread", "filename=vda:vdb", "iodepth=4"), "--disk=8M"),
         guest=(f"{FIRST}.read.bytes == {24 * MEGABYTE}", "groups.0.queues.0.requests == 4096",
                "groups.0.queues.1.requests == 2048")),
    Case("bench-clones-of-two-harts",
         (*job("rw=randread", "iodepth=8", "numjobs=4", "hipri", "number_ios=2000", disk="--disk=null:1G"), "--harts=2",
          "--queues=2"),
         guest=("jobs.# == 4", "jobs.*.read.ios == 2000", "groups.0.queues.*.requests == 4000")),
    Case("bench-hart-by-number",
         (*job("rw=randread", "cpus_allowed=1", "number_ios=500", disk="--disk=null:1G"), "--harts=2", "--queues=2"),
         guest=(f"{FIRST}.hart == 1", "groups.0.queues.1.requests == 500")),
    Case("bench-legacy", (*job("rw=randwrite", "verify=crc32c", "iodepth=32"), "--transport=mmio-legacy"),
         guest=(f"{FIRST}.error == 0", f"{FIRST}.read.bytes == {WHOLE}")),
    Case("bench-mmio-accesses-of-an-interrupt",
         (*job("rw=randread", "bs=4k", "number_ios=1000", disk="--disk=null:1G"), "--harts=1", "--icount", *append("poll=off")),
         guest=("groups.0.notifications == 1000", "groups.0.interrupts == 1000", "groups.0.mmio_accesses == 5000",
                "boot_to_first_read <= 50000")),
    Case("bench-read-error", job("rw=randread", "bs=4k", disk=faulty(MEGABYTE, iotype="read", sector=64)), status=1,
         says=("^bench: job 'job' .line 1.: a read of vda at sector 64 failed: io_error$",), guest=(f"{FIRST}.error == 5",)),
    Case("bench-no-such-disk", job("rw=randread", "filename=vdc"), status=1, refuses="there is no disk 'vdc'"),
    Case("bench-no-such-hart", (*job("rw=randread", "cpus_allowed=7"), "--harts=2"), status=1, refuses="cpus_allowed names hart 7"),
    Case("bench-beyond-the-end", job("rw=read", "offset=12m", "size=8m"), status=1, refuses="beyond the end of the disk"),
    Case("bench-beyond-memory", job("rw=read", "bs=1m", "iodepth=4000"), status=1, refuses="takes more memory than is free"),
    Case("bench-unknown-option", job("rw=read", "zonemode=zbd"), status=1, refuses="line 3: zonemode=zbd: "),
    Case("bench-wrong-value", job("rw=sideways"), status=1, refuses="line 2: rw=sideways: "),
    Case("bench-block-size", job("rw=read", "bs=6k", disk="--disk=12M") + BLOCKS_OF_4096, status=1,
         refuses="bs is not a multiple of the disk's logical block size"),
    Case("bench-without-trim", job("rw=randtrim") + device("discard=off"), status=1, refuses="cannot discard"),
]  # fmt: skip

PCI_DISK = qemu("-blockdev", "driver=null-co,node-name=on-pci,size=1048576,read-zeroes=on",
                "-device", "virtio-blk-pci,drive=on-pci,serial=on-pci")
ROOT_PORT = ("-device", "pcie-root-port,id=rp,chassis=1,slot=1,addr=5")
PCI = [
    Case("pci-info", ("info", "--disk=1M", "--disk=2M", "--transport=pci"),
         says=("^vda, PCI 00:01.0: block .*, modern interface, interrupt 33$", "^vdb, PCI 00:02.0: block .*, interrupt 34$"),
         guest=("devices.# == 2", "devices.1.capacity == 4096", 'devices.0.location == "PCI 00:01.0"',
                'devices.*.interface == "modern interface"', "devices.0.interrupt == 33", "devices.0.messages.# == 0")),
    Case("pci-info-legacy", ("info", "--disk=1M", "--transport=pci-legacy"),
         says=("^vda, PCI 00:01.0: block .*, legacy interface, interrupt 33$",), guest=("devices.0.capacity == 2048",)),
    # A transitional device: the modern interface is taken.
    Case("pci-info-transitional", ("info", "--disk=1M", "--transport=pci", *device("disable-legacy=off")),
         says=("^vda, PCI 00:01.0: block .*, modern interface, ", "^  features accepted .*VERSION_1")),
    # Four queues on two harts: each has a message of its own, which goes to the hart that owns the queue.
    Case("pci-info-messages", ("info", "--disk=1M", "--transport=pci", "--interrupts=imsic", "--queues=4", "--harts=2"),
         says=("modern interface, 5 messages \\(MSI-X\\)$", "^  configuration +vector 0, ", "^  queue 3 +vector 4, id [0-9]+ of hart 1$"),
         guest=("devices.0.messages.# == 5", "devices.0.messages.1.hart == 0", "devices.0.messages.2.hart == 1",
                "devices.0.messages.3.hart == 0", "devices.0.messages.4.hart == 1")),
    *(Case(f"pci-own-hart-{harts}", ("verify", "--disk=4M", "--transport=pci", "--interrupts=imsic", f"--queues={harts}",
                                     f"--harts={harts}", *append("poll=off")), says=(AGREES,),
           guest=(f"disks.0.queues.# == {harts}", "disks.0.queues.*.interrupts > 0",
                  "disks.0.queues.*.interrupts_elsewhere == 0", "disks.0.lost_interrupts == 0", "disks.0.resets == 0"))
      for harts in (2, 4)),
    # Fewer vectors than queues + 1: all queues share one; then there is one for everything; then the pin.
    *(Case(f"pci-vectors-{vectors}-{transport}",
           ("verify", "--disk=1M", f"--transport={transport}", "--interrupts=imsic", "--queues=4", "--harts=2",
            *device(f"vectors={vectors}"), *append("poll=off")),
           says=(AGREES,), guest=("disks.0.queues.*.interrupts > 0", "disks.0.lost_interrupts == 0"))
      for vectors in (0, 1, 2, 5) for transport in ("pci", "pci-legacy")),
    Case("pci-vectors-info", ("info", "--disk=1M", "--transport=pci", "--interrupts=imsic", "--queues=4", *device("vectors=2")),
         says=("modern interface, 2 messages", "^  all queues +vector 1, "), guest=("devices.0.messages.# == 2",)),
    *(Case(f"pci-notify-{words[0].split('=')[0]}", ("verify", "--disk=1M", "--transport=pci", "--queues=2", *device(*words)),
           says=(AGREES,)) for words in (("page-per-vq=on",), ("modern-pio-notify=on",))),
    Case("pci-behind-a-bridge", ("digest", "--disk={a}", "--transport=pci", "--interrupts=imsic",
                                 "--qemu-arg=-device", "--qemu-arg=pcie-root-port,id=rp,chassis=1,slot=1,addr=5",
                                 *device("bus=rp", "addr=0")),
         images=noise(MEGABYTE), says=(MATCHES, )),
    Case("pci-behind-two-bridges",
         ("info", *qemu(*ROOT_PORT, "-device", "pcie-pci-bridge,id=below,bus=rp", "-blockdev",
                        "driver=null-co,node-name=deep,size=1048576,read-zeroes=on", "-device",
                        "virtio-blk-pci,drive=deep,bus=below,addr=3")),
         says=("^vda, PCI 02:03.0: block .*, modern interface, interrupt 32$",), guest=("devices.0.capacity == 2048",)),
    # On both buses: the slots come first.
    Case("pci-beside-mmio", ("info", "--disk=2M", *PCI_DISK),
         says=("^vda, slot 0x10008000: ", "^vdb, PCI 00:01.0: "), guest=("devices.# == 2", "devices.1.capacity == 2048")),
    Case("pci-twenty-disks", ("verify", *("--disk=256K",) * 20, "--transport=pci", "--interrupts=imsic", "--queues=2",
                              "--harts=2", *append("poll=off")),
         guest=("disks.# == 20", "disks.*.wrong_blocks == 0", "disks.*.queues.*.interrupts_elsewhere == 0")),
    # More queues than there are identities of a hart: what comes last shares, or uses its pin.
    Case("pci-more-queues-than-messages", ("info", *("--disk=256K",) * 6, "--transport=pci", "--interrupts=imsic", "--queues=64"),
         guest=("devices.# == 6", "devices.0.messages.# == 65", "devices.5.messages.# == 0", "devices.5.interrupt > 0")),
    Case("pci-registers", ("registers", "--disk=1M", "--transport=pci", "--queues=2"),
         says=("cfg_type 1, BAR 4, offset 0x0, 4096 bytes: common configuration$", "^  0x012  num_queues +R +0x0002",
               "^  0x014  device_status +RW  0x0f +bits: ACKNOWLEDGE DRIVER DRIVER_OK FEATURES_OK$",
               "^ queue 1 \\(queue_select = 1\\)$", "^  0x000  capacity +R +2048 ")),
    # A device that nobody drives: its registers are its own, and not all ones.
    Case("pci-registers-of-another-device", ("registers", *qemu("-device", "virtio-balloon-pci,disable-legacy=on")),
         says=("^PCI 00:01.0: registers of VIRTIO over PCI", "^  0x014  device_status +RW  0x00 +bits: none: the device was reset$",
               "^  0x012  num_queues +R +0x000[1-9]")),
    Case("pci-info-of-one-queue", ("info", "--transport=pci", "--interrupts=imsic", *qemu("-device", "virtio-rng-pci")),
         says=("^rng0, PCI 00:01.0: entropy .*, 1 message \\(MSI-X\\)$", "^  everything +vector 0, id [0-9]+ of hart 0$"),
         guest=("devices.0.messages.# == 1", "devices.0.messages.0.hart == 0", "devices.0.interrupt == 0")),
    Case("pci-registers-legacy", ("registers", "--disk=1M", "--transport=pci-legacy"),
         says=("^ I/O registers of BAR 0, at 0x3001000$", "^  0x012  device_status +RW  0x07", "^  0x014  capacity +R +2048 ")),
    Case("pci-panic", ("crash", "--disk=1M", "--transport=pci", "--interrupts=imsic", "--harts=2"), status=101,
         says=("^panic: null access",), says_not=("does not reset",)),
    # A read at depth 1 is a notification, and nothing else: its message is taken without an access to a device.
    Case("pci-accesses-of-a-message",
         (*job("rw=randread", "bs=4k", "number_ios=1000", disk="--disk=null:1G"), "--transport=pci", "--interrupts=imsic",
          "--icount", *append("poll=off")),
         guest=("groups.0.notifications == 1000", "groups.0.interrupts == 1000", "groups.0.mmio_accesses == 1000")),
    Case("pci-bench", (*job("rw=randwrite", "verify=crc32c", "iodepth=32"), "--transport=pci", "--interrupts=imsic")),
]  # fmt: skip

# qemu-storage-daemon as the device: another process, with other features and limits.
SERVED_WAYS = {
    "mmio": ("--transport=mmio",),
    "pci": ("--transport=pci",),
    "pci-messages": ("--transport=pci", "--interrupts=imsic", "--harts=2"),
}
VHOST_USER = [
    Case("vhost-user-info", ("info", "--disk=vhost-user:8M", "--transport=pci", "--interrupts=imsic", "--queues=2"),
         says=("^  features accepted +SIZE_MAX ((?!GEOMETRY).)*VERSION_1", "^  geometry +not said$",
               "^  queues +2 of 128 descriptors, ", "^  serial +vhost_user_blk$"),
         guest=("devices.0.capacity == 16384", "devices.0.queue_size == 128", "devices.0.messages.# == 3")),
    *(Case(f"vhost-user-digest-{queues}-{name}",
           ("digest", "--disk=vhost-user:{a}", f"--queues={queues}", *way, *append("poll=off", "bs=16k")),
           images=noise(8 * MEGABYTE + SECTOR), says=(MATCHES,), guest=(*ALL_COUNT, f"disks.0.queues.# == {queues}"))
      for name, way in SERVED_WAYS.items() for queues in (1, 4)),
    *(Case(f"vhost-user-verify-{queues}-{name}", ("verify", "--disk=vhost-user:4M", f"--queues={queues}", *way, *append("poll=off")),
           says=(AGREES, "with discards and write-zeroes"),
           guest=(*ALL_COUNT, "disks.0.wrong_blocks == 0", f"disks.0.queues.# == {queues}"))
      for name, way in SERVED_WAYS.items() for queues in (1, 4)),
    *(Case(f"vhost-user-verify-{name}", ("verify", "--disk=vhost-user:2M", "--transport=pci", *device(*more)), says=(AGREES,))
      for name, more in (("chains", ("indirect_desc=off",)), ("flags", ("event_idx=off",)), ("queue-of-4", ("queue-size=4",)))),
    Case("vhost-user-qcow2", ("verify", "--disk=vhost-user:{q}", "--destroy", "--transport=pci"),
         images=(Image("q", 2 * MEGABYTE, qcow2=True),), says=(AGREES,)),
    Case("vhost-user-read-only", ("info", "--disk=vhost-user:1M", "--read-only", "--transport=pci"),
         says=("access +read-only",), guest=("devices.0.read_only == true",)),
    # One beside a disk of QEMU's own: each is known by its serial number.
    Case("vhost-user-and-another", ("verify", "--disk=vhost-user:1M", "--disk=1M", "--transport=pci", "--interrupts=imsic"),
         says=("the host agrees: vda", "the host agrees: vdb"), guest=("disks.# == 2",)),
    Case("vhost-user-bench", (*job("rw=randwrite", "verify=crc32c", "iodepth=32", disk="--disk=vhost-user:8M"), "--transport=pci")),
]  # fmt: skip

CASES = [*BENCH, *DISKS, *PACKED, *PCI, *VHOST_USER, *WRONG_DISK, *SIZES, *BAD_INPUT, *HARTS, *FAULTS, *INTERRUPTS, *PANIC, *TASKS]
