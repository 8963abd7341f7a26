#include "pcap_writer/sidecar.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace sluice::pcap {
namespace {

constexpr char kMagic[8] = {'S', 'L', 'U', 'I', 'C', 'E', 'P', 'T'};
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kPageBytes = 4096;

// In the byte order of the machine: the version shows if it is another one's.
struct Page {
    char magic[8] = {};
    std::uint32_t version = 0;
    std::uint32_t format = 0;
    std::uint32_t chunk_bytes = 0;
    std::uint32_t alignment = 0;
    std::uint64_t id = 0;
    // On a cache line of its own, which its writer keeps to itself.
    alignas(64) std::uint64_t committed = 0;
    std::byte reserved[kPageBytes - 64 - sizeof(std::uint64_t)] = {};
};
static_assert(sizeof(Page) == kPageBytes);

class Fd {
  public:
    explicit Fd(int fd) noexcept : fd_(fd) {}
    ~Fd() {
        if (fd_ >= 0) ::close(fd_);
    }
    Fd(const Fd&) = delete;
    Fd& operator=(const Fd&) = delete;
    int get() const noexcept { return fd_; }
    int release() noexcept { return std::exchange(fd_, -1); }

  private:
    int fd_;
};

bool locked_by_other(int fd, int kind) noexcept {
    return ::flock(fd, kind | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

std::uint64_t random_id() noexcept {
    std::uint64_t id = 0;
    const Fd fd(::open("/dev/urandom", O_RDONLY | O_CLOEXEC));
    // Without it the id is 0, which is still an id.
    return ::read(fd.get(), &id, sizeof id) == sizeof id ? id : 0;
}

// Opens and locks. Its former writer may remove the file between the two, so that the lock is on
// a file that nobody finds any more: then it starts again.
Result<int> open_locked(const std::string& path) {
    for (;;) {
        Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
        if (fd.get() < 0)
            return fail(errno, "cannot open \"{}\": {}", path, std::strerror(errno));
        if (locked_by_other(fd.get(), LOCK_EX))
            return fail(EBUSY, "another capture is writing the file that \"{}\" belongs to, "
                        "expected a name of its own (%{{port}}, %{{queue}})", path);
        struct stat mine {};
        struct stat there {};
        if (::fstat(fd.get(), &mine) == 0 && ::stat(path.c_str(), &there) == 0 &&
            mine.st_dev == there.st_dev && mine.st_ino == there.st_ino)
            return fd.release();
    }
}

Page& page_at(std::byte* page) noexcept { return *reinterpret_cast<Page*>(page); }

}  // namespace

std::string Sidecar::path_of(std::string_view capture_path) {
    std::string path(capture_path);
    path += kSidecarSuffix;
    return path;
}

Result<Sidecar> Sidecar::create(const std::string& capture_path, const Content& content) {
    Sidecar s;
    s.path_ = path_of(capture_path);
    SLUICE_TRY(s.fd_, open_locked(s.path_));
    Page page;
    std::memcpy(page.magic, kMagic, sizeof kMagic);
    page.version = kVersion;
    page.format = static_cast<std::uint32_t>(content.format);
    page.chunk_bytes = content.chunk_bytes;
    page.alignment = content.alignment;
    page.id = random_id();
    // Written, not only mapped: on a full disk that fails, where a store would raise SIGBUS.
    const ssize_t n = ::pwrite(s.fd_, &page, sizeof page, 0);
    if (n != sizeof page) {
        const int code = n < 0 ? errno : ENOSPC;
        ::unlink(s.path_.c_str());  // one that says nothing would only be in the way
        return fail(code, "cannot write \"{}\": {}", s.path_, std::strerror(code));
    }
    void* map = ::mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED, s.fd_, 0);
    if (map == MAP_FAILED)
        return fail(errno, "cannot map \"{}\": {}", s.path_, std::strerror(errno));
    s.page_ = static_cast<std::byte*>(map);
    return s;
}

Sidecar::Sidecar(Sidecar&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::exchange(other.fd_, -1)),
      page_(std::exchange(other.page_, nullptr)) {}

Sidecar& Sidecar::operator=(Sidecar&& other) noexcept {
    if (this == &other) return *this;
    release();
    path_ = std::move(other.path_);
    fd_ = std::exchange(other.fd_, -1);
    page_ = std::exchange(other.page_, nullptr);
    return *this;
}

Sidecar::~Sidecar() { release(); }

void Sidecar::release() noexcept {
    if (page_ != nullptr) ::munmap(page_, kPageBytes);
    if (fd_ >= 0) ::close(fd_);
    page_ = nullptr;
    fd_ = -1;
}

void Sidecar::commit(std::uint64_t bytes) noexcept {
    if (page_ != nullptr) __atomic_store_n(&page_at(page_).committed, bytes, __ATOMIC_RELEASE);
}

std::uint64_t Sidecar::committed() const noexcept {
    return page_ == nullptr ? 0 : __atomic_load_n(&page_at(page_).committed, __ATOMIC_ACQUIRE);
}

std::uint64_t Sidecar::id() const noexcept { return page_ == nullptr ? 0 : page_at(page_).id; }

Result<> Sidecar::remove() {
    if (page_ == nullptr) return {};
    const int error = ::unlink(path_.c_str()) == 0 || errno == ENOENT ? 0 : errno;
    release();
    if (error != 0) return fail(error, "cannot remove \"{}\": {}", path_, std::strerror(error));
    return {};
}

Result<std::optional<Sidecar::Found>> Sidecar::read(const std::string& capture_path) {
    const std::string path = path_of(capture_path);
    const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (fd.get() < 0 && errno == ENOENT) return std::nullopt;
    if (fd.get() < 0) return fail(errno, "cannot open \"{}\": {}", path, std::strerror(errno));
    if (locked_by_other(fd.get(), LOCK_SH))
        return fail(EBUSY, "\"{}\" is being written by a running capture", capture_path);
    Page page;
    const ssize_t n = ::pread(fd.get(), &page, sizeof page, 0);
    if (n < 0) return fail(errno, "cannot read \"{}\": {}", path, std::strerror(errno));
    // Killed between making it and writing it, which comes before the capture file is touched.
    if (n == 0) return std::nullopt;
    if (n != sizeof page || std::memcmp(page.magic, kMagic, sizeof kMagic) != 0)
        return fail(EINVAL, "\"{}\" does not say how much of \"{}\" was written, expected {} bytes "
                    "that start with \"{}\"", path, capture_path, kPageBytes,
                    std::string_view(kMagic, sizeof kMagic));
    if (page.version != kVersion || page.format > static_cast<std::uint32_t>(FileFormat::pcapng))
        return fail(EINVAL, "\"{}\" has version {} and format {}, expected version {} and format "
                    "0 or 1", path, page.version, page.format, kVersion);
    Found found;
    found.content = {static_cast<FileFormat>(page.format), page.chunk_bytes, page.alignment};
    found.id = page.id;
    found.committed = page.committed;
    return found;
}

bool Sidecar::in_use(const std::string& capture_path) {
    const Fd fd(::open(path_of(capture_path).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    return fd.get() >= 0 && locked_by_other(fd.get(), LOCK_SH);
}

}  // namespace sluice::pcap
