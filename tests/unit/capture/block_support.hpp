#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/rng.hpp"
#include "capture/block.hpp"
#include "capture/packer.hpp"
#include "pcap_writer/pcapng_reader.hpp"
#include "support.hpp"

namespace sluice::capture::test {

struct Seen {
    std::int64_t wall_ns = 0;
    std::uint32_t original = 0;
    std::vector<std::byte> data;
    std::uint64_t drops = 0;  // pcapng: since the record before
    std::uint32_t flags = 0;
};

struct Parsed {
    std::vector<Seen> records;
    std::vector<pcap::NgStats> statistics;
    std::string error;  // empty: to the last byte
};

inline Seen seen_of(const pcap::Record& r) {
    return {r.wall_ns, r.original, {r.data.begin(), r.data.end()}, 0, 0};
}

inline Parsed parsed_pcap(pcap::Bytes file) {
    Parsed out;
    auto reader = pcap::Reader::open(file, "captured");
    if (!reader) return {{}, {}, reader.error().message};
    for (;;) {
        auto record = reader->next();
        if (!record) {
            out.error = record.error().message;
            return out;
        }
        if (!*record) return out;
        out.records.push_back(seen_of(**record));
    }
}

inline Parsed parsed_ng(pcap::Bytes file) {
    Parsed out;
    auto reader = pcap::NgReader::open(file, "captured");
    if (!reader) return {{}, {}, reader.error().message};
    for (;;) {
        auto record = reader->next();
        if (!record) {
            out.error = record.error().message;
            return out;
        }
        if (!*record) break;
        out.records.push_back(seen_of((*record)->record));
        out.records.back().drops = (*record)->drop_count.value_or(0);
        out.records.back().flags = (*record)->flags;
    }
    out.statistics = reader->statistics();
    return out;
}

inline Parsed parsed(pcap::Bytes file, Format format) {
    return format == Format::pcapng ? parsed_ng(file) : parsed_pcap(file);
}

inline std::vector<std::byte> file_bytes(const std::string& path) {
    std::vector<std::byte> out(std::filesystem::file_size(path));
    std::FILE* const f = std::fopen(path.c_str(), "rb");
    REQUIRE(f != nullptr);
    CHECK(std::fread(out.data(), 1, out.size(), f) == out.size());
    std::fclose(f);
    return out;
}

inline std::unique_ptr<BlockPool> blocks(std::uint32_t bytes, std::uint32_t count) {
    auto pool = BlockPool::create(bytes, count);
    REQUIRE(pool);
    return std::move(*pool);
}

// Packets, each with a stamp of its own, so that a record tells which packet it is of.
class Traffic {
  public:
    // Packets are more than a second apart now and then within a burst.
    static constexpr std::int64_t kStepNs = 37'000'000;
    static constexpr std::int64_t kBaseNs = 1'700'000'000'123'456'000;
    struct Offered {
        unsigned shape = 0;
        std::uint32_t snaplen = 0;
        bool offered = false;
    };
    struct Shape {
        Packet packet;
        std::uint32_t length = 0;
        std::uint8_t first = 0;
    };

    explicit Traffic(std::uint32_t longest = 1600, std::uint64_t seed = 1, unsigned mbufs = 1023)
        : pool_(mbufs) {
        Rng rng(seed);
        for (const std::uint32_t n : {0u, 1u, 2u, 3u, 4u, 59u, 60u, 64u, 255u, 256u, 257u})
            add(n);
        for (int i = 0; i < 60; ++i) add(static_cast<std::uint32_t>(rng.below(longest)));
        for (int i = 0; i < 30; ++i)
            add(static_cast<std::uint32_t>(rng.below(longest)),
                static_cast<std::uint16_t>(rng.between(1, 300) + longest / 20));
        add(longest);
        if (longest >= 2048) add(2048);  // to the end of its buffer
    }

    // What was offered so far: another capture begins.
    void forget() {
        offered_.clear();
        count_ = packed_ = lost_ = refused_ = bytes_ = 0;
    }

    // Its number, for burst().
    unsigned add(std::uint32_t length, std::uint16_t segment = 2048) {
        const auto first = static_cast<std::uint8_t>(shapes_.size() * 41);
        shapes_.push_back({Packet(pool_.packet(length, first, segment)), length, first});
        return static_cast<unsigned>(shapes_.size() - 1);
    }
    const Shape& shape(unsigned i) const { return shapes_[i]; }
    unsigned shapes() const { return static_cast<unsigned>(shapes_.size()); }

    std::int64_t now_ns() const {
        return kBaseNs + static_cast<std::int64_t>(offered_.size()) * kStepNs;
    }
    void wait(unsigned steps) { offered_.resize(offered_.size() + steps); }

    std::vector<rte_mbuf*> packets_of(const std::vector<unsigned>& which) const {
        std::vector<rte_mbuf*> out;
        for (const unsigned w : which) out.push_back(shapes_[w].packet.get());
        return out;
    }
    std::vector<unsigned> some(Rng& rng, std::uint64_t most = 64) const {
        std::vector<unsigned> out(rng.between(1, most));
        for (unsigned& w : out) w = static_cast<unsigned>(rng.below(shapes_.size()));
        return out;
    }

    Packer::Outcome burst(Packer& packer, const std::vector<unsigned>& which,
                          std::uint32_t snaplen) {
        std::vector<std::uint16_t> all(which.size());
        for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::uint16_t>(i);
        return send(packer, which, snaplen, all, true);
    }
    // As if a filter let through only some of them.
    Packer::Outcome burst(Packer& packer, const std::vector<unsigned>& which,
                          std::uint32_t snaplen, const std::vector<std::uint16_t>& passed) {
        return send(packer, which, snaplen, passed, false);
    }

    // What is wrong with the records of all files, one after the other; empty: nothing.
    std::string wrong(const std::vector<Seen>& records, bool drops_known) const {
        std::size_t before = 0;  // one behind the last record's packet
        for (const Seen& r : records) {
            const std::int64_t since = r.wall_ns - kBaseNs;
            if (since < 0 || since % kStepNs != 0) return "a stamp that no packet has";
            const auto serial = static_cast<std::size_t>(since / kStepNs);
            if (serial < before) return "packets out of order";
            if (serial >= offered_.size() || !offered_[serial].offered)
                return "a packet that was not offered";
            const Offered& o = offered_[serial];
            const Shape& shape = shapes_[o.shape];
            if (r.original != shape.length) return "a wrong length";
            if (r.data.size() != std::min(shape.length, o.snaplen)) return "cut wrongly";
            for (std::size_t i = 0; i < r.data.size(); ++i)
                if (r.data[i] != static_cast<std::byte>(shape.first + i)) return "wrong bytes";
            std::uint64_t lost = 0;
            for (; before < serial; ++before) lost += offered_[before].offered ? 1 : 0;
            if (drops_known && r.drops != lost)
                return fmt::format("drops of {} instead of {}", r.drops, lost);
            before = serial + 1;
        }
        return "";
    }

    std::uint64_t offered() const { return count_; }
    std::uint64_t packed() const { return packed_; }
    std::uint64_t lost() const { return lost_; }
    std::uint64_t refused() const { return refused_; }
    std::uint64_t bytes() const { return bytes_; }

  private:
    Packer::Outcome send(Packer& packer, const std::vector<unsigned>& which,
                         std::uint32_t snaplen, const std::vector<std::uint16_t>& passed,
                         bool all) {
        const std::vector<rte_mbuf*> packets = packets_of(which);
        Packer::Batch batch;
        batch.packets = packets.data();
        batch.which = all ? nullptr : passed.data();
        batch.count = static_cast<unsigned>(passed.size());
        batch.wall.first_ns = now_ns();
        batch.wall.step_q16 = kStepNs << 16;
        batch.snaplen = snaplen;
        const std::size_t begin = offered_.size();
        offered_.resize(begin + which.size());
        for (const std::uint16_t i : passed) offered_[begin + i] = {which[i], snaplen, true};
        const Packer::Outcome out = packer.pack(batch);
        count_ += passed.size();
        packed_ += out.packed;
        lost_ += out.lost;
        refused_ += out.refused;
        bytes_ += out.bytes;
        return out;
    }

    Pool pool_;
    std::vector<Shape> shapes_;
    std::vector<Offered> offered_;  // by serial number
    std::uint64_t count_ = 0, packed_ = 0, lost_ = 0, refused_ = 0, bytes_ = 0;
};

// A writer that keeps the files in memory, and lets the recorder wait for its blocks if told to.
class Shelf {
  public:
    struct File {
        std::vector<std::byte> bytes;
        std::uint64_t records = 0;  // as the blocks say
        bool ended = false;
        std::vector<std::size_t> wholes;  // where blocks say that a record ends
        std::string wrong;
    };

    explicit Shelf(BlockPool& pool) : pool_(pool) {}

    // At most `most` sealed blocks, which are not given back yet.
    void take(unsigned most = ~0u) {
        while (Block* const b = pool_.next()) waiting_.push_back(b);
        for (; most != 0 && !waiting_.empty() && waiting_.front()->seen().sealed; --most) {
            put_away(*waiting_.front());
            held_.push_back(waiting_.front());
            waiting_.pop_front();
        }
    }
    void give_back(unsigned most = ~0u) {
        for (; most != 0 && !held_.empty(); --most) {
            // Whoever looks at it later than this sees rubbish.
            std::memset(held_.front()->data, 0xee, pool_.block_bytes());
            pool_.give_back(held_.front());
            held_.pop_front();
        }
    }
    void drain() {
        take();
        give_back();
    }
    bool empty() const { return waiting_.empty() && held_.empty(); }
    const std::deque<File>& files() const { return files_; }

    // What is wrong with the files themselves, as far as they have ended.
    std::string wrong(Format format) const {
        for (const File& f : files_) {
            if (!f.wrong.empty()) return f.wrong;
            if (!f.ended) continue;
            const Parsed p = parsed(f.bytes, format);
            if (!p.error.empty()) return p.error;
            if (p.records.size() != f.records) return "records were miscounted";
            if ((format == Format::pcapng) != (p.statistics.size() == 1))
                return "statistics are missing or too many";
        }
        return "";
    }
    // A file that ends where a block says that a record does is whole.
    std::string wrong_wholes(Format format) const {
        for (const File& f : files_)
            for (const std::size_t whole : f.wholes)
                if (const Parsed p = parsed(pcap::Bytes(f.bytes).first(whole), format);
                    !p.error.empty())
                    return p.error;
        return "";
    }
    std::vector<Seen> records(Format format) const {
        std::vector<Seen> all;
        for (const File& f : files_) {
            Parsed p = parsed(f.bytes, format);
            all.insert(all.end(), std::make_move_iterator(p.records.begin()),
                       std::make_move_iterator(p.records.end()));
        }
        return all;
    }
    std::uint64_t counted() const {
        std::uint64_t n = 0;
        for (const File& f : files_) n += f.records;
        return n;
    }

  private:
    void put_away(const Block& b) {
        const ChunkFill fill = b.seen();
        if (fill.bytes == 0 && !b.first && !b.last) return;  // a spare one
        if (b.first) {
            const bool early = !files_.empty() && !files_.back().ended;
            files_.emplace_back();
            if (early) files_.back().wrong = "a file before the one before had ended";
        }
        if (files_.empty()) files_.push_back({{}, 0, false, {}, "a block before any file"});
        File& f = files_.back();
        if (f.ended) f.wrong = "a block behind the last one";
        if (!b.last && fill.bytes != pool_.block_bytes()) f.wrong = "a block that is not full";
        if (b.whole > fill.bytes) f.wrong = "a record that ends behind the block";
        if (b.whole != 0) f.wholes.push_back(f.bytes.size() + b.whole);
        f.bytes.insert(f.bytes.end(), b.data, b.data + fill.bytes);
        f.records += fill.records;
        f.ended = b.last;
    }

    BlockPool& pool_;
    std::deque<Block*> waiting_;
    std::deque<Block*> held_;
    std::deque<File> files_;
};

}  // namespace sluice::capture::test
