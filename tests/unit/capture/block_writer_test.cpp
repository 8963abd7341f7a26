#include "capture/block_writer.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <thread>

#include "block_support.hpp"
#include "pcap_writer/recover.hpp"

namespace sluice::capture {
namespace {

namespace fs = std::filesystem;
using Catch::Matchers::Contains;
using test::blocks;
using test::file_bytes;
using test::Parsed;
using test::parsed;
using test::Seen;
using test::TempDir;
using test::Traffic;

constexpr std::uint32_t kSnaplen = 1500;

// A disk that takes its time, mixes up the order, and breaks where it is told to. What has not
// completed is not in the file.
struct FakeDisk {
    bool direct = true;
    unsigned depth = 64;
    bool shuffles = true;
    bool stands_still = false;
    double fault_chance = 0;
    // By number of the write, from 0: -errno, or how many bytes are written.
    std::map<std::uint64_t, std::int64_t> faults{};
    Rng rng{1};
    std::uint64_t writes = 0;
    std::uint64_t broken = 0;
    std::uint64_t unaligned = 0;
    struct Op {
        int fd;
        std::span<const std::byte> bytes;
        std::uint64_t offset;
        std::uint64_t cookie;
        std::uint64_t number;
    };
    std::vector<Op> queue{};

    std::int64_t run(const Op& op) {
        std::int64_t wanted = static_cast<std::int64_t>(op.bytes.size());
        if (const auto f = faults.find(op.number); f != faults.end()) wanted = f->second;
        if (rng.chance(fault_chance)) {
            const std::int64_t kinds[] = {-EIO, -ENOSPC, wanted > 4096 ? wanted - 4096 : 0};
            wanted = kinds[rng.below(3)];
        }
        if (wanted != static_cast<std::int64_t>(op.bytes.size())) ++broken;
        if (wanted <= 0) return wanted;
        return ::pwrite(op.fd, op.bytes.data(), static_cast<std::size_t>(wanted),
                        static_cast<off_t>(op.offset));
    }
};

class FakeIo final : public pcap::BlockIo {
  public:
    explicit FakeIo(std::shared_ptr<FakeDisk> disk) : disk_(std::move(disk)) {}
    unsigned room() const noexcept override {
        return disk_->depth - static_cast<unsigned>(disk_->queue.size());
    }
    void submit(int fd, std::span<const std::byte> bytes, std::uint64_t offset,
                std::uint64_t cookie) noexcept override {
        FakeDisk& d = *disk_;
        const auto address = reinterpret_cast<std::uintptr_t>(bytes.data());
        if (d.direct && (offset % 4096 != 0 || bytes.size() % 4096 != 0 || address % 4096 != 0))
            ++d.unaligned;
        d.queue.push_back({fd, bytes, offset, cookie, d.writes++});
    }
    unsigned poll(std::span<Completion> out) noexcept override {
        FakeDisk& d = *disk_;
        if (d.stands_still) return 0;
        // One that may block has done it all by now.
        std::size_t most = d.queue.size();
        if (d.direct && d.shuffles) most = d.rng.below(most + 1);
        unsigned n = 0;
        for (; n < most && n < out.size(); ++n) {
            const std::size_t i = d.direct && d.shuffles ? d.rng.below(d.queue.size()) : 0;
            out[n] = {d.queue[i].cookie, d.run(d.queue[i])};
            d.queue.erase(d.queue.begin() + static_cast<std::ptrdiff_t>(i));
        }
        return n;
    }
    bool direct() const noexcept override { return disk_->direct; }
    bool blocks() const noexcept override { return !disk_->direct; }
    const char* name() const noexcept override { return "fake"; }

  private:
    std::shared_ptr<FakeDisk> disk_;
};

struct Setup {
    Format format = Format::pcap_ns;
    std::uint32_t block_bytes = 4096;
    std::uint32_t block_count = 12;
    FileLimits next_file{};
    bool rotates = true;
    std::uint32_t ring = 0;
    std::string name = "a.pcap";
    BlockWriter::Options writer{};
};

// A packer and a writer on one thread, with a clock that goes 10 ms a step.
class Rig {
  public:
    explicit Rig(Setup setup) : setup_(std::move(setup)) {
        pool = blocks(setup_.block_bytes, setup_.block_count);
        Packer::Options o;
        o.format = setup_.format;
        o.snaplen = kSnaplen;
        o.interfaces = {{"p0", "", ""}};
        o.next_file = setup_.next_file;
        packer = std::make_unique<Packer>(*pool, o);
        pcap::FileSet::Options files;
        files.pattern = dir.file(setup_.name.c_str());
        files.rotates = setup_.rotates;
        files.files = setup_.ring;
        auto set = pcap::FileSet::create(files);
        REQUIRE(set);
        setup_.writer.files = std::move(*set);
        setup_.writer.format = setup_.format == Format::pcapng ? pcap::FileFormat::pcapng
                                                               : pcap::FileFormat::pcap;
        writer = std::make_unique<BlockWriter>(*pool, std::make_unique<FakeIo>(disk),
                                               setup_.writer);
        writer->on_failure([this] {
            ++asked;
            packer->rotate();
        });
        REQUIRE(writer->init());
        // Every test with a rig, both ways.
        if (GENERATE(false, true)) REQUIRE(writer->start_keeper());
    }

    void step(unsigned times = 1) {
        for (; times != 0; --times) {
            now = now + Duration::milliseconds(10);
            writer->poll(now, traffic.now_ns());
            // However long the thread takes, it is done within the step.
            while (writer->waits_for_keeper()) {
                std::this_thread::yield();
                writer->poll(now, traffic.now_ns());
            }
        }
    }
    // As many blocks as it takes for `n` writes.
    void burst(unsigned packets = 20) {
        traffic.burst(*packer, traffic.some(rng, packets), kSnaplen);
    }
    void send(unsigned bursts, unsigned packets = 20) {
        for (unsigned i = 0; i < bursts; ++i) {
            burst(packets);
            step(3);
        }
    }
    // As the lane does it.
    void close() {
        bool finished = false;
        for (int i = 0; i < 100'000 && (!finished || !writer->drained()); ++i) {
            if (!finished) finished = packer->finish(traffic.now_ns());
            step();
            if (writer->failed_for_good()) break;
        }
        CHECK((writer->failed_for_good() || writer->drained()));
        writer->abandon();
    }

    std::uint64_t written() const { return writer->counters().written.get(); }
    std::uint64_t disk_error() const { return writer->counters().disk_error.get(); }

    std::vector<std::string> names() const {
        std::vector<std::string> out;
        for (const auto& e : fs::directory_iterator(dir.path))
            out.push_back(e.path().filename().string());
        std::sort(out.begin(), out.end());
        return out;
    }
    std::vector<Seen> records_of(const std::string& path) const {
        Parsed p = parsed(file_bytes(path), setup_.format);
        CHECK(p.error == "");
        return std::move(p.records);
    }
    std::vector<Seen> records() const {
        std::vector<Seen> all;
        for (const std::string& name : names()) {
            CHECK_THAT(name, !Contains("sluice-part"));
            for (Seen& s : records_of(dir.file(name.c_str()))) all.push_back(std::move(s));
        }
        return all;
    }
    // What would be left if this process were killed now.
    std::vector<Seen> after_kill() const {
        TempDir copy;
        for (const std::string& name : names())
            fs::copy_file(dir.file(name.c_str()), copy.file(name.c_str()));
        std::vector<Seen> all;
        for (const std::string& name : names()) {
            if (name.ends_with(pcap::kSidecarSuffix)) continue;
            const std::string path = copy.file(name.c_str());
            // Before its header is there, it is no capture file yet.
            if (fs::exists(pcap::Sidecar::path_of(path))) {
                auto found = pcap::Sidecar::read(path);
                REQUIRE(found);
                REQUIRE(*found);
                if ((*found)->committed == 0) continue;
                if (const auto r = pcap::recover(path); !r) FAIL(r.error().message);
            }
            for (Seen& s : records_of(path)) all.push_back(std::move(s));
        }
        return all;
    }
    void check() {
        CHECK(written() + disk_error() == traffic.packed());
        CHECK(disk->unaligned == 0);
        const auto all = records();
        CHECK(traffic.wrong(all, false) == "");
        if (setup_.ring == 0) CHECK(all.size() == written());
        CHECK(pool->free_count() == pool->count());
    }

  private:
    Setup setup_;

  public:
    TempDir dir;
    std::shared_ptr<FakeDisk> disk = std::make_shared<FakeDisk>();
    Traffic traffic;
    Rng rng{5};
    Instant now{1'000'000'000};
    unsigned asked = 0;  // for a new file
    std::unique_ptr<BlockPool> pool;
    std::unique_ptr<Packer> packer;
    std::unique_ptr<BlockWriter> writer;
};

TEST_CASE("Writes that end out of order make the same file", "[block_writer]") {
    Setup setup;
    setup.format = GENERATE(Format::pcap_ns, Format::pcapng);
    setup.writer.preallocate = GENERATE(0u, 100'000u);
    Rig rig(setup);
    rig.disk->direct = GENERATE(true, false);
    rig.send(100);
    rig.close();
    CHECK(rig.traffic.lost() == 0);
    CHECK(rig.disk->writes > 50);
    CHECK(rig.names().size() == 1);
    CHECK(rig.disk_error() == 0);
    CHECK(rig.writer->error() == "");
    rig.check();
    const std::string path = rig.dir.file(rig.names()[0].c_str());
    CHECK(fs::file_size(path) == rig.writer->counters().file_bytes.get());
    struct stat info {};
    REQUIRE(::stat(path.c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
}

TEST_CASE("A capture without packets is a file with a header", "[block_writer]") {
    Setup setup;
    setup.format = GENERATE(Format::pcap_us, Format::pcapng);
    setup.rotates = false;
    Rig rig(setup);
    rig.close();
    CHECK(rig.names() == std::vector<std::string>{"a.pcap"});
    CHECK(rig.records().empty());
}

TEST_CASE("Files follow each other", "[block_writer]") {
    Setup setup;
    setup.next_file.packets = 100;
    Rig rig(setup);
    rig.send(100);
    rig.close();
    CHECK(rig.writer->counters().files.get() == rig.names().size());
    CHECK(rig.names().size() == (rig.written() + 99) / 100);
    rig.check();
}

TEST_CASE("After a failed write the file ends with a whole record, and another follows",
          "[block_writer]") {
    Setup setup;
    setup.format = GENERATE(Format::pcap_ns, Format::pcapng);
    setup.writer.preallocate = 1 << 20;
    setup.block_bytes = 8192;
    Rig rig(setup);
    rig.disk->direct = GENERATE(true, false);
    const std::int64_t result = GENERATE(-ENOSPC, -EIO, 4096, 0);
    rig.disk->faults[3] = result;
    rig.disk->shuffles = GENERATE(true, false);
    while (rig.writer->error().empty()) rig.send(1);
    const std::string wanted = result == -EIO ? "Input/output error" : "No space left";
    CHECK_THAT(rig.writer->error(), Contains(wanted) && Contains("a_00001_"));
    CHECK_FALSE(rig.writer->failed_for_good());
    CHECK(rig.asked == 0);
    // A second later it tries again.
    rig.step(110);
    CHECK(rig.asked == 1);
    const std::uint64_t before = rig.written();
    rig.send(50);
    rig.close();
    CHECK(rig.written() > before);
    CHECK(rig.disk_error() > 0);
    CHECK(rig.names().size() == 2);
    CHECK(rig.asked == 1);
    rig.check();
}

TEST_CASE("A compressed file that ends early ends with a whole record", "[block_writer]") {
    Setup setup;
    setup.format = GENERATE(Format::pcap_ns, Format::pcapng);
    setup.block_bytes = 8192;
    setup.name = "a.pcap.zst";
    setup.writer.codec = pcap::Codec::zstd;
    Rig rig(setup);
    rig.disk->direct = false;
    rig.disk->faults[7] = GENERATE(-ENOSPC, 100);
    while (rig.writer->error().empty()) rig.send(1);
    rig.step(110);
    rig.send(50);
    rig.close();
    CHECK(rig.names().size() == 2);
    CHECK(rig.disk_error() > 0);
    std::vector<Seen> all;
    for (const std::string& name : rig.names()) {
        const auto packed = file_bytes(rig.dir.file(name.c_str()));
        std::vector<std::byte> file(std::size_t{16} << 20);
        const std::size_t n =
            ZSTD_decompress(file.data(), file.size(), packed.data(), packed.size());
        REQUIRE_FALSE(ZSTD_isError(n));
        file.resize(n);
        Parsed p = parsed(file, setup.format);
        CHECK(p.error == "");
        for (Seen& s : p.records) all.push_back(std::move(s));
    }
    CHECK(rig.traffic.wrong(all, false) == "");
    CHECK(all.size() == rig.written());
    CHECK(rig.written() + rig.disk_error() == rig.traffic.packed());
}

TEST_CASE("A file that nothing came of is taken away", "[block_writer]") {
    Rig rig({});
    rig.disk->faults[0] = -ENOSPC;
    while (rig.writer->error().empty()) rig.send(1);
    rig.step(110);
    rig.send(20);
    rig.close();
    CHECK(rig.names().size() == 1);
    CHECK_THAT(rig.names()[0], Contains("a_00002_"));
    rig.check();
}

TEST_CASE("A disk that stays full leaves no heap of files", "[block_writer]") {
    Setup setup;
    setup.next_file.packets = 50;
    setup.writer.flush_interval = Duration::seconds(3600);  // a flush would reach the real disk
    Rig rig(setup);
    rig.disk->fault_chance = 1;
    rig.send(300);
    rig.close();
    CHECK(rig.written() == 0);
    CHECK(rig.names().empty());
    rig.check();
}

TEST_CASE("Where it is asked for, the first failure is the end", "[block_writer]") {
    Setup setup;
    setup.writer.stop_on_error = true;
    Rig rig(setup);
    rig.disk->faults[5] = -EIO;
    while (!rig.writer->failed_for_good()) rig.send(1);
    rig.send(20);
    rig.step(200);
    CHECK(rig.asked == 0);
    rig.close();
    CHECK(rig.names().size() == 1);
    CHECK(rig.written() > 0);
    rig.check();
}

TEST_CASE("A file that cannot be opened is tried again", "[block_writer]") {
    Setup setup;
    setup.rotates = false;
    Rig rig(setup);
    fs::create_directory(rig.dir.file("a.pcap"));
    rig.send(20);
    CHECK_THAT(rig.writer->error(), Contains("a.pcap") && Contains("directory"));
    CHECK(rig.names() == std::vector<std::string>{"a.pcap"});
    fs::remove(rig.dir.file("a.pcap"));
    rig.step(110);
    CHECK(rig.asked >= 1);
    rig.send(20);
    rig.close();
    CHECK(rig.disk_error() > 0);
    CHECK(rig.written() > 0);
    rig.check();
}

TEST_CASE("What was written before a failure stays, also if there is but one name",
          "[block_writer]") {
    Setup setup;
    setup.rotates = false;
    Rig rig(setup);
    rig.disk->faults[6] = -ENOSPC;
    while (rig.writer->error().empty()) rig.send(1);
    const std::uint64_t before = rig.written();
    CHECK(before > 0);
    for (int second = 0; second < 3; ++second) {
        rig.step(110);
        rig.send(20);
    }
    rig.close();
    CHECK(rig.written() > before);
    rig.check();
}

TEST_CASE("Slow traffic is in the file before its block is full", "[block_writer]") {
    Setup setup;
    setup.format = GENERATE(Format::pcap_ns, Format::pcapng);
    setup.block_bytes = 64 << 10;
    Rig rig(setup);
    rig.disk->direct = GENERATE(true, false);
    rig.step();
    for (int i = 0; i < 8; ++i) {
        rig.burst(3);
        rig.step(11);
        const auto kept = rig.after_kill();
        CHECK(kept.size() == rig.traffic.packed());
        CHECK(rig.traffic.wrong(kept, false) == "");
    }
    CHECK(rig.disk->broken == 0);
    rig.close();
    rig.check();
}

TEST_CASE("Packets that a flush has put on disk are not given up for a failure later",
          "[block_writer]") {
    Setup setup;
    setup.block_bytes = 64 << 10;
    Rig rig(setup);
    rig.disk->direct = false;
    rig.burst(10);
    rig.step(20);
    CHECK(rig.after_kill().size() == rig.traffic.packed());
    const std::uint64_t on_disk = rig.traffic.packed();
    rig.disk->fault_chance = 1;
    rig.burst(10);
    rig.step(20);
    CHECK_FALSE(rig.writer->error().empty());
    rig.close();
    CHECK(rig.written() == on_disk);
    rig.check();
}

TEST_CASE("A ring writes its files over, and no old packet shows", "[block_writer]") {
    Setup setup;
    setup.format = GENERATE(Format::pcap_ns, Format::pcapng);
    setup.next_file.bytes = 30'000;
    setup.writer.file_bytes = 30'000;
    setup.writer.preallocate = GENERATE(0u, 1u << 20);
    setup.ring = 3;
    Rig rig(setup);
    const bool killed = GENERATE(false, true);
    for (int i = 0; i < 100; ++i) {
        rig.send(1);
        if (killed) {
            const auto kept = rig.after_kill();
            if (const std::string w = rig.traffic.wrong(kept, false); !w.empty()) FAIL(w);
        }
        REQUIRE(rig.names().size() <= 4 + 1);
    }
    rig.close();
    CHECK(rig.names().size() == 3);
    CHECK(rig.writer->counters().files.get() > 10);
    CHECK(rig.disk_error() == 0);
    rig.check();
}

TEST_CASE("While the disk stands still blocks wait, and nothing is forgotten", "[block_writer]") {
    Rig rig({});
    rig.disk->depth = GENERATE(1u, 2u, 64u);
    rig.disk->stands_still = true;
    rig.send(50);
    CHECK(rig.traffic.lost() > 0);
    CHECK(rig.written() == 0);
    rig.disk->stands_still = false;
    rig.send(50);
    rig.close();
    CHECK(rig.disk_error() == 0);
    CHECK(rig.written() == rig.traffic.packed());
    rig.check();
}

TEST_CASE("Giving up closes what is there", "[block_writer]") {
    Rig rig({});
    rig.send(30);
    rig.disk->stands_still = true;
    rig.send(30);
    rig.disk->stands_still = false;
    rig.writer->abandon();
    CHECK(rig.written() > 0);
    CHECK(rig.disk_error() > 0);  // the block that is still being filled
    CHECK(rig.written() + rig.disk_error() == rig.traffic.packed());
    CHECK(rig.records().size() == rig.written());
    CHECK(rig.traffic.wrong(rig.records(), false) == "");
}

// ---- streams ----

class Fifo {
  public:
    Fifo() : path(dir.file("fifo")) {
        REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
        // Both ends, so that neither side waits for the other.
        fd = ::open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
        REQUIRE(fd >= 0);
    }
    ~Fifo() { hang_up(); }
    void hang_up() {
        if (fd >= 0) ::close(fd);
        fd = -1;
    }
    void read_all() {
        std::byte buffer[4096];
        for (ssize_t n = 0; (n = ::read(fd, buffer, sizeof buffer)) > 0;)
            got.insert(got.end(), buffer, buffer + n);
    }

    TempDir dir;
    std::string path;
    int fd = -1;
    std::vector<std::byte> got;
};

TEST_CASE("A stream gets all packets, soon", "[block_writer]") {
    Fifo fifo;
    auto pool = blocks(8192, 6);
    Packer::Options o;
    o.format = GENERATE(Format::pcap_ns, Format::pcapng);
    o.snaplen = kSnaplen;
    o.interfaces = {{"p0", "", ""}};
    Packer packer(*pool, o);
    BlockWriter::Options w;
    w.stream = fifo.path;
    BlockWriter writer(*pool, pcap::make_posix_io(), w);
    REQUIRE(writer.init());
    Traffic traffic;
    Rng rng(1);
    Instant now{1};
    for (int i = 0; i < 50; ++i) {
        traffic.burst(packer, traffic.some(rng, 10), kSnaplen);
        now = now + Duration::milliseconds(200);
        writer.poll(now, 0);
        fifo.read_all();
        const Parsed p = parsed(fifo.got, o.format);
        CHECK(p.error == "");
        CHECK(p.records.size() == traffic.packed());
    }
    CHECK(packer.finish(traffic.now_ns()));
    for (int i = 0; i < 5; ++i) writer.poll(now, 0);
    CHECK(writer.drained());
    fifo.read_all();
    const Parsed p = parsed(fifo.got, o.format);
    CHECK(p.error == "");
    CHECK(traffic.wrong(p.records, o.format == Format::pcapng) == "");
    CHECK(writer.counters().written.get() == traffic.packed());
    CHECK(traffic.lost() == 0);
}

TEST_CASE("A reader that goes ends the stream for good", "[block_writer]") {
    ::signal(SIGPIPE, SIG_IGN);
    Fifo fifo;
    auto pool = blocks(8192, 6);
    Packer::Options o;
    o.snaplen = kSnaplen;
    Packer packer(*pool, o);
    BlockWriter::Options w;
    w.stream = fifo.path;
    BlockWriter writer(*pool, pcap::make_posix_io(), w);
    REQUIRE(writer.init());
    Traffic traffic;
    Rng rng(1);
    Instant now{1};
    const auto burst = [&] {
        traffic.burst(packer, traffic.some(rng, 10), kSnaplen);
        now = now + Duration::milliseconds(200);
        writer.poll(now, 0);
    };
    burst();
    fifo.hang_up();
    for (int i = 0; i < 10; ++i) burst();
    CHECK(writer.failed_for_good());
    CHECK_THAT(writer.error(), Contains("Broken pipe"));
    packer.finish(traffic.now_ns());
    writer.abandon();
    CHECK(writer.counters().written.get() + writer.counters().disk_error.get() ==
          traffic.packed());
}

// ---- anything ----

struct Tale {
    Setup setup;
    bool direct = true;
    double fault_chance = 0;

    explicit Tale(Rng& rng) {
        const Format formats[] = {Format::pcap_ns, Format::pcap_us, Format::pcapng};
        setup.format = formats[rng.below(3)];
        setup.block_bytes = static_cast<std::uint32_t>(4096 * rng.between(1, 3));
        setup.block_count = static_cast<std::uint32_t>(rng.between(4, 16));
        if (rng.chance(0.4)) setup.next_file.packets = rng.between(1, 300);
        if (rng.chance(0.4)) setup.next_file.bytes = rng.between(2000, 60'000);
        setup.writer.file_bytes = setup.next_file.bytes;
        if (rng.chance(0.3)) setup.ring = static_cast<std::uint32_t>(rng.between(2, 5));
        const std::uint64_t preallocate[] = {0, 16'384, 1 << 20};
        setup.writer.preallocate = preallocate[rng.below(3)];
        setup.writer.stop_on_error = rng.chance(0.15);
        setup.writer.retry_interval = Duration::milliseconds(50);
        setup.writer.flush_interval = Duration::milliseconds(20);
        direct = rng.chance(0.8);
        fault_chance = rng.chance(0.5) ? 0 : 0.05;
    }
};

// Of all that was counted as written, a kill takes nothing; and what is there is right.
void kill(const Rig& rig, bool ring) {
    const std::uint64_t written = rig.written();
    const auto kept = rig.after_kill();
    if (const std::string w = rig.traffic.wrong(kept, false); !w.empty()) FAIL(w);
    if (!ring && kept.size() < written) FAIL("only " << kept.size() << " of " << written);
}

TEST_CASE("Whatever the disk does, files are whole and sums are right", "[block_writer]") {
    std::uint64_t failed = 0;
    std::uint64_t lost = 0;
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        INFO("seed " << seed);
        Rng rng(seed);
        const Tale tale(rng);
        Rig rig(tale.setup);
        rig.disk->direct = tale.direct;
        rig.disk->fault_chance = tale.fault_chance;
        rig.disk->rng = Rng(seed + 1000);
        rig.rng = Rng(seed + 2000);
        for (auto i = rng.between(1, 150); i > 0; --i) {
            switch (rng.below(8)) {
                case 0: rig.disk->stands_still = tale.direct && rng.chance(0.5); break;
                case 1: rig.packer->idle(rig.traffic.now_ns()); break;
                case 2:
                    if (rng.chance(0.1)) rig.packer->rotate();
                    break;
                case 3: rig.step(static_cast<unsigned>(rng.below(10))); break;
                case 4:
                    if (rng.chance(0.3)) kill(rig, tale.setup.ring != 0);
                    break;
                default:
                    rig.burst(static_cast<unsigned>(rng.between(1, 40)));
                    rig.step(static_cast<unsigned>(rng.below(3)));
            }
        }
        rig.disk->stands_still = false;
        rig.close();
        failed += rig.disk->broken;
        lost += rig.traffic.lost();
        REQUIRE(rig.written() + rig.disk_error() == rig.traffic.packed());
        if (rig.disk->broken == 0) REQUIRE(rig.disk_error() == 0);
        const auto all = rig.records();
        REQUIRE(rig.traffic.wrong(all, false) == "");
        if (tale.setup.ring == 0) REQUIRE(all.size() == rig.written());
        if (tale.setup.ring != 0)
            // Of those that could not be closed in time there may be more.
            REQUIRE(rig.names().size() <= tale.setup.ring + tale.setup.block_count);
        REQUIRE(rig.disk->unaligned == 0);
        REQUIRE(rig.pool->free_count() == rig.pool->count());
    }
    // Or else it did not try what it is to try.
    CHECK(failed > 50);
    CHECK(lost > 100);
}

}  // namespace
}  // namespace sluice::capture
