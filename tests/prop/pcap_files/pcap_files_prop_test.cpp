#define CATCH_CONFIG_MAIN
#include <fcntl.h>
#include <rapidcheck.h>
#include <sys/stat.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <deque>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "../../unit/pcap_writer/temp_folder.hpp"
#include "pcap_writer/file_set.hpp"
#include "pcap_writer/name_pattern.hpp"
#include "pcap_writer/pcap.hpp"
#include "pcap_writer/pcapng.hpp"
#include "pcap_writer/recover.hpp"
#include "pcap_writer/sidecar.hpp"

using namespace sluice;
using pcap::FileSet;
using pcap::Resolution;
using test::TempFolder;

namespace {

std::string text_of(const std::vector<std::byte>& v) {
    return {reinterpret_cast<const char*>(v.data()), v.size()};
}

// A file, and where each of its records or blocks ends.
struct Made {
    std::string bytes;
    std::vector<std::size_t> ends{0};

    void add(const std::string& piece) {
        bytes += piece;
        ends.push_back(bytes.size());
    }
};

std::string record(bool ng, Resolution resolution, std::uint32_t size, char fill) {
    const std::int64_t wall_ns = 1'700'000'000'000'000'000 + fill;
    std::vector<std::byte> packet(size, static_cast<std::byte>(fill));
    if (ng) {
        std::vector<std::byte> block(pcap::epb_bytes(size, size % 2 == 0));
        pcap::put_epb_head(block.data(), 0, wall_ns, resolution, size, size + 1, size % 2 == 0);
        std::copy(packet.begin(), packet.end(), block.begin() + pcap::kEpbHeadBytes);
        pcap::put_epb_tail(block.data(), size, pcap::kEpbOutbound,
                           size % 2 == 0 ? std::optional<std::uint64_t>(size) : std::nullopt);
        return text_of(block);
    }
    std::vector<std::byte> header(pcap::kRecordHeaderBytes);
    pcap::put_record_header(header.data(), pcap::stamp_of(wall_ns, resolution), size, size + 1);
    return text_of(header) + text_of(packet);
}

Made file_of(bool ng, Resolution resolution, const std::vector<std::uint32_t>& sizes, char fill) {
    Made made;
    if (ng) {
        made.add(text_of(pcap::section_header({.comment = "c"})));
        made.add(text_of(pcap::interface_description({.resolution = resolution})));
    } else {
        const auto h = pcap::file_header(pcap::Linktype::ethernet, resolution, 65535);
        made.add(text_of({h.begin(), h.end()}));
    }
    for (const std::uint32_t size : sizes) made.add(record(ng, resolution, size, fill));
    return made;
}

std::vector<std::uint32_t> any_sizes() {
    return *rc::gen::container<std::vector<std::uint32_t>>(
        rc::gen::inRange<std::uint32_t>(0, 2000));
}

}  // namespace

TEST_CASE("wherever a capture dies, its whole records are recovered, and no stale ones", "[prop]") {
    const TempFolder t;
    const std::string path = t / "a.pcap";
    CHECK(rc::check("recover", [&] {
        const bool ng = *rc::gen::arbitrary<bool>();
        const auto resolution = *rc::gen::element(Resolution::us, Resolution::ns);
        const std::vector<std::uint32_t> sizes = any_sizes();
        const Made now = file_of(ng, resolution, sizes, 'n');
        // Often of the same sizes, so that old records stand where new ones would.
        const bool same = *rc::gen::arbitrary<bool>();
        const Made old = file_of(ng, resolution, same ? sizes : any_sizes(), 'o');
        const auto committed = *rc::gen::inRange<std::size_t>(0, now.bytes.size() + 1);
        std::string file = now.bytes.substr(0, committed);
        if (old.bytes.size() > committed) file += old.bytes.substr(committed);
        t.write("a.pcap", file);
        {
            auto sidecar = pcap::Sidecar::create(
                path, {ng ? pcap::FileFormat::pcapng : pcap::FileFormat::pcap, 4096, 4096});
            RC_ASSERT(sidecar.has_value());
            sidecar->commit(committed);
        }
        const auto after = std::upper_bound(now.ends.begin(), now.ends.end(), committed);
        const std::size_t end = *std::prev(after);
        auto recovered = pcap::recover(path);
        RC_ASSERT(recovered.has_value());
        RC_ASSERT(recovered->bytes_kept == end);
        RC_ASSERT(recovered->bytes_cut == file.size() - end);
        const auto starts = static_cast<std::size_t>(after - now.ends.begin() - 1);
        const std::size_t headers = ng ? 2 : 1;
        RC_ASSERT(recovered->records == (starts > headers ? starts - headers : 0));
        RC_ASSERT(t.read("a.pcap") == now.bytes.substr(0, end));
        RC_ASSERT(t.names() == std::set<std::string>{"a.pcap"});
    }));
}

TEST_CASE("whatever a pattern names, it knows again, with its count", "[prop]") {
    CHECK(rc::check("patterns", [] {
        const std::vector<std::string> pieces = {
            "%Y", "%m", "%d", "%H", "%M", "%S", "%j", "%F", "%T", "%s", "%b", "%A", "%%", "%e",
            "%{port}", "%{queue}", "-", "_", "x", "7", ".", "%z"};
        std::string pattern;
        for (int n = *rc::gen::inRange(1, 6); n > 0; --n)
            pattern += *rc::gen::elementOf(pieces);
        const bool counts = *rc::gen::arbitrary<bool>();
        if (counts) pattern += "-%{count}";
        if (pattern == "." || pattern == "..") return;
        auto parsed = pcap::NamePattern::parse(pattern, "p1", 12, true);
        RC_ASSERT(parsed.has_value());
        const auto seconds = *rc::gen::inRange<std::int64_t>(0, 4'000'000'000);
        const auto count = *rc::gen::inRange<std::uint64_t>(1, 1'000'000);
        const std::string name = parsed->name(seconds * 1'000'000'000, count);
        const auto match = parsed->match(name);
        RC_ASSERT(match.has_value());
        if (counts) RC_ASSERT(*match == count);
        RC_ASSERT(!parsed->match(name + ".sluice-part"));
        if (!parsed->has_count()) RC_ASSERT(parsed->match(parsed->name(1, 1, count)).has_value());
    }));
}

TEST_CASE("a set of files keeps its limits over restarts, oldest out first", "[prop]") {
    CHECK(rc::check("file set", [] {
        const TempFolder t;
        const std::set<std::string> foreign = {"a.pcap", "b_00001_20200101000000.pcap", "note.txt"};
        for (const std::string& name : foreign) t.make(name, 100'000);
        FileSet::Options options;
        options.pattern = t / *rc::gen::element<std::string>("a.pcap", "%{count}.pcap", "%H.pcap");
        options.rotates = true;
        options.files = *rc::gen::inRange<std::uint32_t>(0, 5);
        constexpr std::uint64_t kFileMax = 60'000;
        options.disk_limit_bytes = *rc::gen::element<std::uint64_t>(0, 70'000, 200'000);
        auto set = FileSet::create(options);
        RC_ASSERT(set.has_value());
        std::deque<std::string> ours;  // the oldest first
        std::int64_t seconds = 1'700'000'000;
        for (int step = *rc::gen::inRange(1, 30); step > 0; --step) {
            if (*rc::gen::inRange(0, 4) == 0) {
                set = FileSet::create(options);
                RC_ASSERT(set.has_value());
                RC_ASSERT(set->size() == ours.size());
            }
            const auto bytes = *rc::gen::inRange<std::uint64_t>(1, kFileMax);
            auto next = set->next(seconds * 1'000'000'000, bytes);
            RC_ASSERT(next.has_value());
            std::set<std::string> gone(next->remove.begin(), next->remove.end());
            if (!next->recycle.empty()) gone.insert(next->recycle);
            for (std::size_t n = gone.size(); n > 0; --n) {
                RC_ASSERT(gone.contains(ours.front()));
                ours.pop_front();
            }
            RC_ASSERT(std::find(ours.begin(), ours.end(), next->path) == ours.end());
            RC_ASSERT(FileSet::apply(*next).has_value());
            std::filesystem::path path = next->path;
            t.make(path.filename().string(), bytes, seconds);
            set->closed(next->path, bytes);
            ours.push_back(next->path);
            ++seconds;

            if (options.files != 0) RC_ASSERT(ours.size() <= options.files);
            std::uint64_t sum = 0;
            std::set<std::string> names = foreign;
            for (const std::string& file : ours) {
                sum += std::filesystem::file_size(file);
                names.insert(std::filesystem::path(file).filename().string());
            }
            if (options.disk_limit_bytes != 0) RC_ASSERT(sum <= options.disk_limit_bytes);
            RC_ASSERT(t.names() == names);
        }
    }));
}
