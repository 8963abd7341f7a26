#pragma once

#include <string>
#include <vector>

#include "base/result.hpp"

namespace sluice::app {

// Adds to EAL's arguments what the user left open, so that roles start beside each other without
// flags: memory without files where there are hugepages, ordinary memory where there are none, few
// regions for virtio-user, a prefix of its own, quiet drivers.
void complete_eal_arguments(const std::string& role, std::vector<std::string>& arguments);

// rte_eal_init and its end. One a process.
class Eal {
  public:
    static Result<Eal> start(const std::string& role, const std::vector<std::string>& arguments);
    Eal(Eal&& other) noexcept;
    Eal& operator=(Eal&&) = delete;
    ~Eal();

  private:
    explicit Eal(std::string runtime_dir) : runtime_dir_(std::move(runtime_dir)) {}
    std::string runtime_dir_;  // removed at the end if it is ours
    bool up_ = true;
};

}  // namespace sluice::app
