#include "capture/doorbell.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace sluice::capture {

Doorbell::~Doorbell() {
    if (fd_ >= 0) ::close(fd_);
}

Result<> Doorbell::init() {
    fd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd_ < 0) return fail(errno, "capture: no event descriptor: {}", std::strerror(errno));
    return {};
}

void Doorbell::ring() noexcept {
    if (state_.exchange(kRung, std::memory_order_acq_rel) != kAsleep) return;
    // Can only fail when the count is at its end, and then the writer wakes as well.
    static_cast<void>(::eventfd_write(fd_, 1));
}

void Doorbell::wait(Duration at_most) noexcept {
    std::uint32_t awake = kAwake;
    if (!state_.compare_exchange_strong(awake, kAsleep, std::memory_order_acq_rel)) return;
    const timespec t{at_most.ns / 1'000'000'000, at_most.ns % 1'000'000'000};
    pollfd p{fd_, POLLIN, 0};
    if (::ppoll(&p, 1, &t, nullptr) <= 0) return;
    eventfd_t count = 0;
    static_cast<void>(::eventfd_read(fd_, &count));
}

}  // namespace sluice::capture
