#include "capture/file_keeper.hpp"

#include <fcntl.h>
#include <rte_lcore.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/check.hpp"
#include "base/log.hpp"

namespace sluice::capture {
namespace {

constexpr std::uint32_t kDeviceAlign = 4096;
// How far a thread is ahead of the writer when it extends a file, in steps and at most.
constexpr std::uint64_t kStepsAhead = 2;
constexpr std::uint64_t kAheadMost = std::uint64_t{128} << 20;

// "a.pcap", 2: "a_2.pcap".
std::string numbered(const std::string& path, unsigned n) {
    const std::size_t slash = path.rfind('/');
    const std::size_t name = slash == std::string::npos ? 0 : slash + 1;
    const std::size_t dot = path.find('.', name + 1);
    const std::size_t end = dot == std::string::npos ? path.size() : dot;
    return fmt::format("{}_{}{}", path.substr(0, end), n, path.substr(end));
}

}  // namespace

Result<std::unique_ptr<FileKeeper>> FileKeeper::create(Options options, unsigned jobs) {
    std::unique_ptr<FileKeeper> keeper(new FileKeeper(std::move(options)));
    keeper->preallocate_.store(keeper->options_.preallocate, std::memory_order_relaxed);
    if (!keeper->asked_.init(jobs) || !keeper->done_.init(jobs))
        return fail(ENOMEM, "capture: no rings for {} files", jobs);
    ::sem_init(&keeper->wake_, 0, 0);
    return keeper;
}

FileKeeper::~FileKeeper() {
    stop_thread();
    ::sem_destroy(&wake_);
}

Result<> FileKeeper::start_thread() {
    // Signals are the main thread's.
    sigset_t all;
    sigset_t before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    const auto body = [](void* self) -> void* {
        static_cast<FileKeeper*>(self)->run();
        return nullptr;
    };
    stop_.store(false, std::memory_order_relaxed);
    const int error = rte_ctrl_thread_create(&thread_, "sluice-files", nullptr, body, this);
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (error != 0)
        return fail(-error, "capture: the thread for the files did not start: {}",
                    std::strerror(-error));
    threaded_ = true;
    // Where the control thread is, too: never on the core of somebody else's packets.
    const rte_cpuset_t cpus = rte_lcore_cpuset(rte_get_main_lcore());
    static_cast<void>(::pthread_setaffinity_np(thread_, sizeof(cpus), &cpus));
    return {};
}

void FileKeeper::stop_thread() noexcept {
    if (!threaded_) return;
    stop_.store(true, std::memory_order_release);
    ::sem_post(&wake_);
    ::pthread_join(thread_, nullptr);
    threaded_ = false;
}

void FileKeeper::run() noexcept {
    for (;;) {
        while (::sem_wait(&wake_) != 0) {}
        // Before the ring: what was asked for until then is still done.
        const bool stop = stop_.load(std::memory_order_acquire);
        while (CaptureFile* const file = asked_.pop()) work(*file);
        if (stop) return;
    }
}

void FileKeeper::ask(CaptureFile& file, CaptureFile::Job job) noexcept {
    SLUICE_DCHECK(file.job == CaptureFile::Job::none);
    file.job = job;
    if (!threaded_) {
        work(file);
        return;
    }
    asked_.push(&file);
    ::sem_post(&wake_);
}

CaptureFile* FileKeeper::done() noexcept { return done_.pop(); }

void FileKeeper::work(CaptureFile& file) noexcept {
    Result<> outcome;
    switch (file.job) {
        case CaptureFile::Job::none: break;
        case CaptureFile::Job::open: outcome = open(file); break;
        case CaptureFile::Job::allocate: allocate(file); break;
        case CaptureFile::Job::close: outcome = close(file); break;
    }
    if (!outcome) {
        file.code = outcome.error().code;
        file.error = std::move(outcome.error().message);
    }
    done_.push(&file);
}

std::string FileKeeper::path() const {
    const std::lock_guard lock(mutex_);
    return path_;
}

void FileKeeper::set_path(const std::string& path) {
    const std::lock_guard lock(mutex_);
    path_ = path;
}

// ---- the jobs ----

Result<> FileKeeper::open(CaptureFile& file) {
    SLUICE_TRY(pcap::FileSet::Next next, options_.files->next(file.wall_ns, options_.file_bytes));
    const std::string name = next.path;
    // After a failure, a capture of one file would begin by emptying what it had saved.
    for (unsigned n = 2; kept_.contains(next.path); ++n) next.path = numbered(name, n);
    if (next.path != name) options_.files->forget(name);
    if (auto prepared = prepare(file, next); !prepared) {
        // It does not exist, or is not ours: it is not to be recycled later.
        options_.files->forget(next.path);
        return prepared;
    }
    set_path(file.path);
    // Whoever waits for the file would wait for its first blocks next.
    if (threaded_ && wants_more(file, 1)) {
        file.wanted = 1;
        allocate(file);
        file.allocated = file.reached;
    }
    return {};
}

Result<> FileKeeper::prepare(CaptureFile& file, const pcap::FileSet::Next& next) {
    file.path = next.path;
    // Before the old file gets the new name: what it holds must never pass for the new capture.
    // Compressed files are no records, and grow as they are written.
    if (options_.sidecars) {
        SLUICE_TRY(auto sidecar, pcap::Sidecar::create(next.path, {options_.format,
                                                                   options_.block_bytes,
                                                                   kDeviceAlign}));
        file.sidecar = std::move(sidecar);
    }
    const auto applied = pcap::FileSet::apply(next);
    if (!applied) {
        if (file.sidecar) static_cast<void>(file.sidecar->remove());
        return fail(applied.error());
    }
    const bool recycled = *applied;
    // Captures show what others sent, so they are their owner's unless the group is to read them.
    const mode_t mode = options_.group_readable ? 0640 : 0600;
    const int flags = O_WRONLY | O_CREAT | O_CLOEXEC | (recycled ? 0 : O_TRUNC);
    file.fd = ::open(next.path.c_str(), flags | (file.direct ? O_DIRECT : 0), mode);
    if (file.fd < 0 && errno == EINVAL && file.direct) {
        // Not on every file system (tmpfs before 6.6): slower, but it works.
        file.fd = ::open(next.path.c_str(), flags, mode);
        if (file.fd >= 0)
            log::warn("capture", "\"{}\": this file system has no O_DIRECT; writing through the "
                      "page cache", next.path);
    }
    if (file.fd < 0) {
        const int code = errno;
        if (file.sidecar) static_cast<void>(file.sidecar->remove());
        return fail(code, "cannot open \"{}\" for writing: {}", next.path, std::strerror(code));
    }
    if (recycled) {
        struct stat info {};
        if (::fstat(file.fd, &info) == 0)
            file.allocated = static_cast<std::uint64_t>(info.st_size);
        ::fchmod(file.fd, mode);
    }
    return {};
}

bool FileKeeper::wants_more(const CaptureFile& file, std::uint64_t end) const noexcept {
    const std::uint64_t step = preallocate_.load(std::memory_order_relaxed);
    if (step == 0 || file.failed) return false;
    if (end > file.allocated) return true;
    // A thread is asked early enough for nobody to wait for it, but not for more than is needed.
    const bool enough = options_.file_bytes != 0 && file.allocated >= options_.file_bytes;
    return threaded_ && !enough &&
           file.allocated - end < std::min(kStepsAhead * step, kAheadMost);
}

// Blocks that exist are written much faster than blocks that a file grows by.
void FileKeeper::allocate(CaptureFile& file) noexcept {
    std::uint64_t to = file.allocated + preallocate_.load(std::memory_order_relaxed);
    if (options_.file_bytes != 0) to = std::min(to, options_.file_bytes + kDeviceAlign);
    to = std::max(to, file.wanted);
    file.reached = file.allocated;
    if (to <= file.allocated) return;
    if (::fallocate(file.fd, 0, static_cast<off_t>(file.allocated),
                    static_cast<off_t>(to - file.allocated)) == 0) {
        file.reached = to;
        return;
    }
    // Without it, the writes themselves say when nothing more fits.
    file.reached = std::max(file.allocated, file.wanted);
    if (errno == ENOSPC || errno == EFBIG) return;
    log::warn("capture", "\"{}\": cannot preallocate ({}); the file grows as it is written",
              file.path, std::strerror(errno));
    preallocate_.store(0, std::memory_order_relaxed);
}

// A file ends with its last whole record.
Result<> FileKeeper::close(CaptureFile& file) noexcept {
    Result<> outcome;
    bool good = true;
    if (!file.stream)
        good = ::ftruncate(file.fd, static_cast<off_t>(file.length)) == 0;
    if (!good)
        outcome = fail(errno, "cannot cut \"{}\" to its {} bytes: {}", file.path, file.length,
                       std::strerror(errno));
    if (::close(file.fd) != 0 && errno != EINTR && outcome)
        outcome = fail(errno, "error when closing \"{}\": {}", file.path, std::strerror(errno));
    file.fd = -1;
    // One that could not be cut needs it for --recover.
    if (file.sidecar && good) static_cast<void>(file.sidecar->remove());
    file.sidecar.reset();
    if (!options_.files) return outcome;
    if (file.failed && file.records == 0) {
        // Nothing came of it: on a full disk there would soon be thousands of these.
        ::unlink(file.path.c_str());
        options_.files->forget(file.path);
    } else {
        options_.files->closed(file.path, file.length);
        if (file.failed) kept_.insert(file.path);
        // Files that followed each other faster than the disk took them were all open at once.
        for (const std::string& path : options_.files->trim()) ::unlink(path.c_str());
    }
    return outcome;
}

}  // namespace sluice::capture
