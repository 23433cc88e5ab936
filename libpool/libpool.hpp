/// All of libpool in one include.
///
/// Runs wherever the parts do.
#pragma once

#include <libpool/async_result.hpp>
#include <libpool/buffer.hpp>
#include <libpool/errors.hpp>
#include <libpool/options.hpp>
#include <libpool/outcome.hpp>
#include <libpool/partial.hpp>
#include <libpool/pool_stats.hpp>
#include <libpool/prefork.hpp>
#include <libpool/process_pool.hpp>
#include <libpool/result_range.hpp>
#include <libpool/saturating_nanoseconds.hpp>
#include <libpool/this_worker.hpp>
#include <libpool/thread_pool.hpp>
#include <libpool/worker_pool.hpp>
