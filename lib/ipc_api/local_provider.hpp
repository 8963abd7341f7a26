#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/instant.hpp"
#include "base/result.hpp"
#include "ipc_api/provider.hpp"

namespace sluice::ipc_api {

struct LocalOptions {
    std::string dif = "local";  // the one there is
    std::uint32_t max_sdu = 65000;
    std::uint64_t bandwidth_max = 0;  // flows that ask for more are refused; 0: none is
};

struct LocalCounters {
    std::uint64_t flows = 0;
    std::uint64_t sdus = 0;
    std::uint64_t lost = 0;  // of flows that do not mind, to applications that do not keep up
};

// A DIF within this process: flows from a registered name to another on the same socket. A reliable
// flow (max_sdu_gap 0) waits for its reader; another loses what its reader has no room for.
class LocalProvider final : public IpcProvider {
  public:
    static Result<std::unique_ptr<LocalProvider>> create(LocalOptions options);
    ~LocalProvider() override;

    // As with ApiServer: wait for it to be readable, and call on_ready().
    int fd() const noexcept;
    void on_ready();
    const LocalCounters& counters() const noexcept;
    std::size_t flows() const noexcept;

    void set_user(IpcUser* user) override;
    void register_app(RequestId request, RegistrationId registration, const rina::AppName& name,
                      const std::string& dif) override;
    void unregister_app(RequestId request, RegistrationId registration) override;
    void allocate_flow(RequestId request, const FlowRequest& what) override;
    void cancel_allocation(RequestId request) override;
    void respond_flow(RequestId request, IncomingId id, bool accept) override;
    void attach(FlowId flow, FlowSocket socket) override;
    void deallocate(FlowId flow) override;

  private:
    struct Impl;
    explicit LocalProvider(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::ipc_api
