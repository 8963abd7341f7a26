#pragma once

#include <rte_rcu_qsbr.h>
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

#include <atomic>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

namespace sluice::dp {

// The quiescent-state bookkeeping shared by everything that is published to the lcores. An lcore
// reports once an iteration, and is offline while it sleeps, so that a sleeper stalls nobody.
class Qsbr {
  public:
    Qsbr();
    ~Qsbr();
    Qsbr(const Qsbr&) = delete;
    Qsbr& operator=(const Qsbr&) = delete;

    // lcore side
    void attach(unsigned lcore) noexcept;
    void detach(unsigned lcore) noexcept;
    void online(unsigned lcore) noexcept { rte_rcu_qsbr_thread_online(state_, lcore); }
    void offline(unsigned lcore) noexcept {
#if defined(__SANITIZE_THREAD__)
        // DPDK orders this before the next online() with a fence, which TSan does not model.
        __tsan_release(state_);
#endif
        rte_rcu_qsbr_thread_offline(state_, lcore);
    }
    void quiescent(unsigned lcore) noexcept { rte_rcu_qsbr_quiescent(state_, lcore); }

    // control side
    std::uint64_t begin_grace() noexcept { return rte_rcu_qsbr_start(state_); }
    bool grace_over(std::uint64_t token) noexcept {
        const bool over = rte_rcu_qsbr_check(state_, token, false) == 1;
#if defined(__SANITIZE_THREAD__)
        if (over) __tsan_acquire(state_);
#endif
        return over;
    }
    // Waits until every lcore that is online has passed through a quiescent state.
    void synchronize() noexcept;

  private:
    rte_rcu_qsbr* state_;
};

// An immutable value that the control thread replaces and the lcores read: one acquire load an
// iteration. What is replaced is freed once no lcore can still hold it; reclaim() does that
// without waiting, from the control loop.
template <typename T>
class Published {
  public:
    explicit Published(Qsbr& qsbr) noexcept : qsbr_(qsbr) {}
    ~Published() {
        // The lcores have ended or never started.
        delete current_.load(std::memory_order_relaxed);
        for (auto& old : retired_) delete old.second;
    }
    Published(const Published&) = delete;
    Published& operator=(const Published&) = delete;

    // lcore: valid until this lcore's next quiescent report.
    const T* read() const noexcept { return current_.load(std::memory_order_acquire); }

    // control
    void publish(std::unique_ptr<const T> value) {
        const T* old = current_.exchange(value.release(), std::memory_order_acq_rel);
        if (old != nullptr) retired_.emplace_back(qsbr_.begin_grace(), old);
        reclaim();
    }
    std::size_t reclaim() {
        std::erase_if(retired_, [this](const auto& old) {
            if (!qsbr_.grace_over(old.first)) return false;
            delete old.second;
            return true;
        });
        return retired_.size();
    }

  private:
    Qsbr& qsbr_;
    std::atomic<const T*> current_{nullptr};
    std::vector<std::pair<std::uint64_t, const T*>> retired_;
};

}  // namespace sluice::dp
