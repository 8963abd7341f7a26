#include "pcap_writer/recover.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "pcap_writer/pcap.hpp"
#include "pcap_writer/pcapng.hpp"
#include "pcap_writer/sidecar.hpp"
#include "temp_folder.hpp"

using namespace sluice;
using Catch::Matchers::Contains;
using pcap::Resolution;
using pcap::Sidecar;
using test::TempFolder;

namespace {

constexpr bool kBig = true;

std::string text_of(const std::byte* bytes, std::size_t n) {
    return {reinterpret_cast<const char*>(bytes), n};
}
std::string text_of(const std::vector<std::byte>& v) { return text_of(v.data(), v.size()); }

void swap_words(std::string& s, std::size_t from, std::size_t to, std::size_t width) {
    for (std::size_t at = from; at < to; at += width)
        std::reverse(s.begin() + static_cast<std::ptrdiff_t>(at),
                     s.begin() + static_cast<std::ptrdiff_t>(at + width));
}

std::string pcap_start(Resolution resolution = Resolution::ns, bool big = false) {
    const auto h = pcap::file_header(pcap::Linktype::ethernet, resolution, 65535);
    std::string s = text_of(h.data(), h.size());
    if (big) swap_words(s, 0, 4, 4), swap_words(s, 4, 8, 2), swap_words(s, 8, 24, 4);
    return s;
}

std::string pcap_record(std::size_t bytes, char fill, bool big = false) {
    std::byte h[pcap::kRecordHeaderBytes];
    pcap::put_record_header(h, {1000, 5}, static_cast<std::uint32_t>(bytes),
                            static_cast<std::uint32_t>(bytes));
    std::string s = text_of(h, sizeof h);
    if (big) swap_words(s, 0, 16, 4);
    return s + std::string(bytes, fill);
}

std::string ng_start() {
    return text_of(pcap::section_header({.application = "test"})) +
           text_of(pcap::interface_description({.name = "p0"}));
}

std::string ng_record(std::size_t bytes, char fill) {
    const auto captured = static_cast<std::uint32_t>(bytes);
    std::vector<std::byte> block(pcap::epb_bytes(captured, false), static_cast<std::byte>(fill));
    pcap::put_epb_head(block.data(), 0, 1'000'000, Resolution::ns, captured, captured, false);
    pcap::put_epb_tail(block.data(), captured, pcap::kEpbInbound, {});
    return text_of(block);
}

// As a writer that was killed leaves it.
void die_after(const std::string& path, std::uint64_t committed,
               pcap::FileFormat format = pcap::FileFormat::pcap) {
    auto s = Sidecar::create(path, {format, 4096, 4096});
    if (!s) FAIL(s.error().message);
    s->commit(committed);
}

pcap::Recovered recovered(const std::string& path) {
    auto r = pcap::recover(path);
    if (!r) FAIL(r.error().message);
    return *r;
}

std::string error_of(const std::string& path) {
    auto r = pcap::recover(path);
    return r ? "" : r.error().message;
}

}  // namespace

TEST_CASE("stale records behind the committed prefix do not come back") {
    const TempFolder t;
    // The file held 100 records of 84 bytes each; a new capture of the same record size has
    // overwritten it up to the end of a chunk, in the middle of a record.
    std::string old = pcap_start();
    for (unsigned i = 0; i < 100; ++i) old += pcap_record(68, 'o');
    std::string now = pcap_start();
    for (unsigned i = 0; i < 100; ++i) now += pcap_record(68, 'n');
    for (const std::size_t committed : {4096u, 24u + 84u * 10u, 24u + 84u * 10u + 1u,
                                        24u + 84u * 10u + 16u, 24u + 84u * 11u - 1u, 24u}) {
        t.write("a.pcap", now.substr(0, committed) + old.substr(committed));
        die_after(t / "a.pcap", committed);
        const std::size_t whole = (committed - 24) / 84;
        const pcap::Recovered r = recovered(t / "a.pcap");
        CHECK(r.records == whole);
        CHECK(r.bytes_kept == 24 + whole * 84);
        CHECK(r.bytes_cut == old.size() - r.bytes_kept);
        CHECK(r.had_sidecar);
        CHECK(t.read("a.pcap") == now.substr(0, 24 + whole * 84));
        CHECK(t.names() == std::set<std::string>{"a.pcap"});
    }
}

TEST_CASE("stale blocks behind the committed prefix of pcapng do not come back") {
    const TempFolder t;
    std::string old = ng_start();
    std::string now = ng_start();
    for (unsigned i = 0; i < 100; ++i) old += ng_record(61, 'o'), now += ng_record(61, 'n');
    const std::size_t start = ng_start().size();
    const std::size_t block = pcap::epb_bytes(61, false);
    for (const std::size_t committed : {std::size_t{4096}, start, start + block, start + block + 1,
                                        start + block * 3 - 1}) {
        t.write("a.pcapng", now.substr(0, committed) + old.substr(committed));
        die_after(t / "a.pcapng", committed, pcap::FileFormat::pcapng);
        const std::size_t whole = (committed - start) / block;
        const pcap::Recovered r = recovered(t / "a.pcapng");
        CHECK(r.records == whole);
        CHECK(t.read("a.pcapng") == now.substr(0, start + whole * block));
    }
}

TEST_CASE("a capture that died before its first chunk is left empty") {
    const TempFolder t;
    t.write("a.pcap", pcap_start() + pcap_record(60, 'o'));
    die_after(t / "a.pcap", 0);
    const pcap::Recovered r = recovered(t / "a.pcap");
    CHECK(r.records == 0);
    CHECK(r.bytes_kept == 0);
    CHECK(t.read("a.pcap").empty());
    CHECK(t.names() == std::set<std::string>{"a.pcap"});
}

TEST_CASE("the walk works in pieces, past records longer than one") {
    const TempFolder t;
    std::string f = pcap_start();
    std::uint64_t records = 0;
    while (f.size() < (5u << 20)) {
        f += pcap_record(records % 50 == 0 ? 262144 : records % 1500, 'x');
        ++records;
    }
    const std::size_t whole = f.size();
    f += pcap_record(100, 'x').substr(0, 115);
    t.write("a.pcap", f + std::string(1 << 20, '\0'));
    die_after(t / "a.pcap", f.size());
    CHECK(recovered(t / "a.pcap").records == records);
    CHECK(t.read("a.pcap").size() == whole);
}

TEST_CASE("a prefix that a power failure left full of zeros is cut where they start") {
    const TempFolder t;
    const std::string good = pcap_start() + pcap_record(60, 'x');
    t.write("a.pcap", good + std::string(8192, '\0'));
    die_after(t / "a.pcap", 8192);
    const pcap::Recovered r = recovered(t / "a.pcap");
    CHECK(r.records == 1);
    CHECK_THAT(r.note, Contains("8092 of the 8192 bytes that were written are lost") &&
                           Contains("byte 100: zeros"));
    CHECK(t.read("a.pcap") == good);
    // If there is nothing at all, nothing is touched.
    t.write("b.pcap", std::string(8192, '\0'));
    die_after(t / "b.pcap", 8192);
    CHECK_THAT(error_of(t / "b.pcap"), Contains("byte 0: 0x00000000 is not the magic"));
    CHECK(t.read("b.pcap").size() == 8192);
    CHECK(t.names().contains("b.pcap.sluice-part"));
}

TEST_CASE("without a sidecar a torn record at the end is cut, and a whole file left alone") {
    const TempFolder t;
    for (const auto resolution : {Resolution::us, Resolution::ns})
        for (const bool big : {!kBig, kBig}) {
            const std::string whole = pcap_start(resolution, big) + pcap_record(60, 'x', big) +
                                      pcap_record(0, 'x', big) + pcap_record(61, 'y', big);
            t.write("a.pcap", whole);
            pcap::Recovered r = recovered(t / "a.pcap");
            CHECK(r.records == 3);
            CHECK(r.bytes_cut == 0);
            CHECK(!r.had_sidecar);
            CHECK_THAT(r.note, Contains("whole, 3 packets"));
            const std::string torn = pcap_record(60, 'z', big);
            for (std::size_t n = 1; n < torn.size(); ++n) {
                t.write("a.pcap", whole + torn.substr(0, n));
                r = recovered(t / "a.pcap");
                CHECK(r.records == 3);
                CHECK(r.bytes_cut == n);
                CHECK_THAT(r.note, Contains("torn"));
            }
            CHECK(t.read("a.pcap") == whole);
        }
    const std::string whole = ng_start() + ng_record(5, 'x');
    const std::string torn = ng_record(60, 'z');
    for (std::size_t n = 0; n < torn.size(); ++n) {
        t.write("a.pcapng", whole + torn.substr(0, n));
        const pcap::Recovered r = recovered(t / "a.pcapng");
        CHECK(r.records == 1);
        CHECK(r.bytes_cut == n);
        CHECK(t.read("a.pcapng") == whole);
    }
}

TEST_CASE("a file that is broken in the middle is left alone") {
    const TempFolder t;
    std::string f = pcap_start() + pcap_record(60, 'x') + pcap_record(60, 'y');
    f[24 + 8 + 3] = '\x7f';  // the length of the first
    t.write("a.pcap", f);
    CHECK_THAT(error_of(t / "a.pcap"), Contains("byte 24: a record of") &&
                                           Contains("the file is left as it is"));
    CHECK(t.read("a.pcap") == f);
    std::string g = ng_start() + ng_record(60, 'x') + ng_record(60, 'y');
    g[g.size() - 1] = '\x7f';
    t.write("a.pcapng", g);
    CHECK_THAT(error_of(t / "a.pcapng"), Contains("at its end"));
    CHECK(t.read("a.pcapng") == g);
    t.write("preallocated.pcap", pcap_start() + pcap_record(60, 'x') + std::string(4096, '\0'));
    CHECK_THAT(error_of(t / "preallocated.pcap"), Contains("byte 100: zeros"));
    t.write("empty.pcap", "");
    CHECK_THAT(error_of(t / "empty.pcap"), Contains("0 bytes are too short for a capture"));
    t.write("short.pcap", pcap_start().substr(0, 20));
    CHECK_THAT(error_of(t / "short.pcap"), Contains("ends within its header"));
    t.write("text.pcap", std::string(100, 'q'));
    CHECK_THAT(error_of(t / "text.pcap"), Contains("is not the magic"));
    CHECK_THAT(error_of(t / "none.pcap"), Contains("No such file"));
    CHECK_THAT(error_of(t.path()), Contains(t.path()));
}

TEST_CASE("the sidecar's own name leads to its file") {
    const TempFolder t;
    t.write("a.pcap", pcap_start() + pcap_record(60, 'x') + pcap_record(60, 'o'));
    die_after(t / "a.pcap", 100);
    const pcap::Recovered r = recovered(t / "a.pcap.sluice-part");
    CHECK(r.records == 1);
    CHECK(t.read("a.pcap").size() == 100);
}

TEST_CASE("a capture that is running is not recovered, nor written twice") {
    const TempFolder t;
    t.write("a.pcap", pcap_start());
    auto s = Sidecar::create(t / "a.pcap", {});
    REQUIRE(s);
    CHECK_THAT(error_of(t / "a.pcap"), Contains("is being written by a running capture"));
    auto second = Sidecar::create(t / "a.pcap", {});
    REQUIRE(!second);
    CHECK(second.error().code == EBUSY);
    CHECK(Sidecar::in_use(t / "a.pcap"));
    REQUIRE(s->remove());
    CHECK(!Sidecar::in_use(t / "a.pcap"));
    CHECK(t.names() == std::set<std::string>{"a.pcap"});
    CHECK(recovered(t / "a.pcap").records == 0);
}

TEST_CASE("a writer that was killed before it said anything had touched nothing") {
    const TempFolder t;
    t.write("a.pcap", pcap_start() + pcap_record(60, 'o'));
    const std::string before = t.read("a.pcap");
    t.write("a.pcap.sluice-part", "");
    CHECK(recovered(t / "a.pcap").records == 1);
    CHECK(t.read("a.pcap") == before);
    CHECK(t.names() == std::set<std::string>{"a.pcap"});
}

TEST_CASE("what is not a sidecar is not believed") {
    const TempFolder t;
    t.write("a.pcap", pcap_start() + pcap_record(60, 'x'));
    for (const std::string& junk : {std::string("x"), std::string(4096, 'x')}) {
        t.write("a.pcap.sluice-part", junk);
        CHECK_THAT(error_of(t / "a.pcap"), Contains("does not say how much"));
    }
    die_after(t / "a.pcap", 100);
    std::string page = t.read("a.pcap.sluice-part");
    page[8] = '\x63';
    t.write("a.pcap.sluice-part", page);
    CHECK_THAT(error_of(t / "a.pcap"), Contains("has version 99"));
    CHECK(t.read("a.pcap").size() == 100);
}

TEST_CASE("what was committed survives SIGKILL") {
    const TempFolder t;
    int ready[2];
    REQUIRE(::pipe(ready) == 0);
    const pid_t child = ::fork();
    if (child == 0) {
        auto s = Sidecar::create(t / "a.pcap", {pcap::FileFormat::pcapng, 1u << 22, 4096});
        if (s) s->commit(123u << 22);
        const char c = s ? 'y' : 'n';
        if (::write(ready[1], &c, 1) != 1) ::_exit(1);
        for (;;) ::pause();
    }
    char c = '\0';
    REQUIRE(::read(ready[0], &c, 1) == 1);
    CHECK(c == 'y');
    CHECK(Sidecar::in_use(t / "a.pcap"));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    ::close(ready[0]), ::close(ready[1]);
    auto found = Sidecar::read(t / "a.pcap");
    REQUIRE(found);
    REQUIRE(*found);
    CHECK((*found)->committed == 123u << 22);
    CHECK((*found)->content.format == pcap::FileFormat::pcapng);
    CHECK((*found)->content.chunk_bytes == 1u << 22);
    CHECK((*found)->content.alignment == 4096);
    // The next capture of that name starts anew.
    auto next = Sidecar::create(t / "a.pcap", {});
    REQUIRE(next);
    CHECK(next->committed() == 0);
    CHECK(next->id() != (*found)->id);
}
