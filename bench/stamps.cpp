// Reads pcap files that captured txgen's frames, one after the other: are the numbers complete, do
// the stamps ever run backwards, and how far are they from when the frames were made?
//
// The two clocks (time of day in the file, TSC in the frame) differ by an offset that drifts, by
// up to a millisecond a second, as far as each program knows the TSC's rate. Within each 10 ms of
// the capture the smallest difference is taken as the offset there, so that what is reported is how
// much later than the quickest frame of these 10 ms a frame was stamped: the error of the stamp and
// the time the frame waited, together.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <vector>

#include "pcap_writer/pcap_reader.hpp"
#include "stages/gen_frame.hpp"

using namespace sluice;

namespace {

constexpr std::int64_t kWindowNs = 10'000'000;
constexpr unsigned kEveryth = 16;  // of the differences is kept

struct Totals {
    std::uint64_t packets = 0;
    std::uint64_t missing = 0;
    std::uint64_t backwards = 0;
    std::uint64_t foreign = 0;
    std::optional<std::uint64_t> first_seq;
    std::uint64_t next_seq = 0;
    std::int64_t last_ns = 0;
    std::int64_t window = 0;
    std::vector<std::int64_t> in_window;   // differences
    std::vector<std::int64_t> differences;  // above the smallest of their window
};

void end_window(Totals& t) {
    if (t.in_window.empty()) return;
    const std::int64_t least = *std::min_element(t.in_window.begin(), t.in_window.end());
    for (std::size_t i = 0; i < t.in_window.size(); i += kEveryth)
        t.differences.push_back(t.in_window[i] - least);
    t.in_window.clear();
}

void look_at(Totals& t, const pcap::Record& r) {
    ++t.packets;
    if (r.wall_ns < t.last_ns) ++t.backwards;
    t.last_ns = std::max(t.last_ns, r.wall_ns);
    const auto gen = r.data.size() < stages::kGenStampedSize ? std::nullopt
                                                             : stages::read_gen(r.data.data());
    if (!gen) {
        ++t.foreign;
        return;
    }
    if (!t.first_seq) t.first_seq = gen->seq;
    else if (gen->seq != t.next_seq) t.missing += gen->seq - t.next_seq;
    t.next_seq = gen->seq + 1;
    const auto made = static_cast<std::int64_t>(
        stages::get_be(r.data.data() + stages::kGenHeaderSize, 8));
    if (r.wall_ns / kWindowNs != t.window) {
        end_window(t);
        t.window = r.wall_ns / kWindowNs;
    }
    t.in_window.push_back(r.wall_ns - made);
}

bool read_file(Totals& t, const char* path) {
    const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
    struct stat info {};
    if (fd < 0 || ::fstat(fd, &info) != 0) {
        std::fprintf(stderr, "stamps: cannot read %s\n", path);
        return false;
    }
    const auto size = static_cast<std::size_t>(info.st_size);
    void* const map = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
    ::close(fd);
    if (map == MAP_FAILED) return false;
    ::madvise(map, size, MADV_SEQUENTIAL);
    auto reader = pcap::Reader::open({static_cast<const std::byte*>(map), size}, path);
    bool good = reader.has_value();
    while (good) {
        auto record = reader->next();
        if (!record) {
            std::fprintf(stderr, "stamps: %s\n", record.error().message.c_str());
            good = false;
        } else if (*record) {
            look_at(t, **record);
        } else {
            break;
        }
    }
    ::munmap(map, size);
    return good;
}

}  // namespace

int main(int argc, char** argv) {
    Totals t;
    for (int i = 1; i < argc; ++i)
        if (!read_file(t, argv[i])) return 1;
    end_window(t);
    std::sort(t.differences.begin(), t.differences.end());
    const auto quantile = [&](double q) -> std::int64_t {
        if (t.differences.empty()) return 0;
        return t.differences[static_cast<std::size_t>(
            q * static_cast<double>(t.differences.size() - 1))];
    };
    fmt::print("{{\"packets\": {}, \"first_seq\": {}, \"last_seq\": {}, \"missing\": {}, "
               "\"foreign\": {}, \"backwards\": {}, \"late_ns\": {{\"p50\": {}, \"p99\": {}, "
               "\"p999\": {}, \"max\": {}}}}}\n", t.packets, t.first_seq.value_or(0),
               t.next_seq == 0 ? 0 : t.next_seq - 1, t.missing, t.foreign, t.backwards,
               quantile(0.5), quantile(0.99), quantile(0.999), quantile(1));
    return t.backwards == 0 && t.missing == 0 ? 0 : 2;
}
