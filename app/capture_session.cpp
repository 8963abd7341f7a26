#include "app/capture_session.hpp"

#include <unistd.h>

#include <cstdio>

#include "control/render.hpp"
#include "pcap_writer/recover.hpp"

namespace sluice::app {
namespace {

constexpr Duration kLook = Duration::milliseconds(20);
constexpr Duration kShow = Duration::seconds(1);

double seconds_of(Duration d) { return static_cast<double>(d.ns) / 1e9; }

}  // namespace

CaptureSession::CaptureSession(Lanes& lanes, const Config& config, const CaptureCli& cli,
                               control::EventLoop& loop)
    : lanes_(lanes),
      cli_(cli),
      loop_(loop),
      started_(control::EventLoop::now()),
      shown_(started_),
      progress_(!cli.quiet && isatty(STDERR_FILENO) != 0) {
    for (const CaptureSpec& spec : config.captures)
        longest_ = std::max(longest_, spec.lane.stop.duration);
    timer_ = loop_.every(kLook, [this] { look(); });
}

CaptureSession::~CaptureSession() { loop_.cancel(timer_); }

void CaptureSession::look() {
    const Instant now = control::EventLoop::now();
    if (lanes_.over() || (longest_.ns != 0 && now - started_ >= longest_)) {
        ended_ = now;
        loop_.stop();
        return;
    }
    if (!progress_ || now - shown_ < kShow) return;
    const std::string line = lanes_.progress(seconds_of(now - shown_));
    shown_ = now;
    std::fprintf(stderr, "\r\033[K%s", line.c_str());
    line_open_ = true;
}

control::Value CaptureSession::result() const {
    return lanes_.report(seconds_of(ended_.value_or(control::EventLoop::now()) - started_));
}

void CaptureSession::report() {
    if (line_open_) std::fputc('\n', stderr);
    const control::Value report = result();
    if (cli_.json) {
        std::fprintf(stdout, "%s\n", control::render_json(report, false).c_str());
        std::fflush(stdout);
        return;
    }
    if (cli_.quiet) return;
    for (const control::Value& row : report["captures"]) {
        const control::Value& drops = row["drops"];
        const auto of = [](const control::Value& v, const char* key) {
            return v.contains(key) ? v[key].get<std::uint64_t>() : std::uint64_t{0};
        };
        std::fprintf(stderr,
                     "%s queue %llu: %llu packets received, %llu written to %llu files; lost: nic "
                     "%llu, no mbuf %llu, no chunk %llu, disk %llu; left out: filter %llu, sample "
                     "%llu, cutoff %llu; stamps within %llu ns\n",
                     row["port"].get<std::string>().c_str(),
                     static_cast<unsigned long long>(of(row, "queue")),
                     static_cast<unsigned long long>(of(row, "received")),
                     static_cast<unsigned long long>(of(row, "written")),
                     static_cast<unsigned long long>(of(row, "files")),
                     static_cast<unsigned long long>(of(drops, "nic_missed")),
                     static_cast<unsigned long long>(of(drops, "no_mbuf")),
                     static_cast<unsigned long long>(of(drops, "no_chunk")),
                     static_cast<unsigned long long>(of(drops, "disk_error")),
                     static_cast<unsigned long long>(of(row, "filtered")),
                     static_cast<unsigned long long>(of(row, "sampled_out")),
                     static_cast<unsigned long long>(of(row, "cut_off")),
                     static_cast<unsigned long long>(of(row, "stamp_error_ns")));
    }
}

int recover_files(const std::vector<std::string>& files) {
    int code = 0;
    for (const std::string& file : files) {
        const auto done = pcap::recover(file);
        if (!done) {
            std::fprintf(stderr, "sluice-capture: %s\n", done.error().message.c_str());
            code = 1;
            continue;
        }
        std::printf("%s: %llu packets, %llu bytes kept, %llu cut: %s\n", file.c_str(),
                    static_cast<unsigned long long>(done->records),
                    static_cast<unsigned long long>(done->bytes_kept),
                    static_cast<unsigned long long>(done->bytes_cut), done->note.c_str());
    }
    return code;
}

}  // namespace sluice::app
