#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/instant.hpp"
#include "base/result.hpp"
#include "ipc_api/access.hpp"
#include "ipc_api/listener.hpp"
#include "ipc_api/provider.hpp"

namespace sluice::ipc_api {

// Of each user.
struct UserLimits {
    std::size_t connections = 256;   // an open descriptor, or an allocation that is under way
    std::size_t registrations = 64;
    std::size_t flows = 1024;        // with those asked for
    std::size_t requests = 128;      // of its own that are not answered yet
};

struct ServerOptions {
    SocketFile socket;
    std::vector<AccessRule> rules;
    UserLimits limits;
    // Requests of others for flows that one open descriptor may leave unanswered, and for how long.
    std::size_t backlog = 64;
    Duration answer_time = Duration::seconds(20);
    FlowSocketOptions flow;  // max_sdu is the provider's
};

struct ServerCounters {
    std::uint64_t connections = 0;          // accepted
    std::uint64_t registrations = 0;        // granted
    std::uint64_t flows = 0;                // handed to applications
    std::uint64_t refused_access = 0;       // by the rules
    std::uint64_t refused_connections = 0;  // limits of the user, each
    std::uint64_t refused_registrations = 0;
    std::uint64_t refused_flows = 0;
    std::uint64_t refused_requests = 0;
    std::uint64_t refused_backlog = 0;      // flows to an application that does not answer
    std::uint64_t expired_incoming = 0;     // the same, after answer_time
    std::uint64_t dropped_unread = 0;       // clients that did not read what waited for them
    std::uint64_t dropped_malformed = 0;    // clients that said what no client of ours says
    std::uint64_t lost_answers = 0;         // nobody was there for them any more
    std::uint64_t no_descriptors = 0;       // times that this process had no more
};

// Serves the applications' socket for one control thread. It has no loop of its own: wait for fd()
// to be readable and call on_ready(). Nothing here blocks, and a client that hangs holds up nobody:
// each answer goes over a socket made for it, or is lost; requests for flows are refused where too
// many wait. Of flows it makes the two ends and gives ours to the provider; no data comes here.
class ApiServer {
  public:
    // `provider` must outlive the server.
    static Result<std::unique_ptr<ApiServer>> open(ServerOptions options, IpcProvider& provider);
    // All clients are closed and their names unregistered. Flows live on, they are the provider's.
    ~ApiServer();
    ApiServer(const ApiServer&) = delete;
    ApiServer& operator=(const ApiServer&) = delete;

    int fd() const noexcept;
    void on_ready(Instant now);

    const ServerCounters& counters() const noexcept;
    std::size_t connections() const noexcept;
    std::size_t registrations() const noexcept;
    std::size_t flows() const noexcept;
    // Answers that the provider, and requests that applications, still owe.
    std::size_t pending() const noexcept;
    std::size_t unanswered() const noexcept;

  private:
    struct Impl;
    explicit ApiServer(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::ipc_api
