;; A counter over the canonical ABI, written by hand so that tests know every byte of its state.
;; The first character of the configuration is its mode: see `Mode` in the tests.
(module
  (import "tidegate:plugin/host@0.1.0" "count" (func $count (param i32 i32 i64)))
  (import "tidegate:plugin/host@0.1.0" "log" (func $log (param i32 i32 i32)))
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 65536))
  (global $mode (mut i32) (i32.const 0))
  (global $calls (export "calls") (mut i64) (i64.const 0))
  (global $float32 (mut f32) (f32.const 1.5))
  (global $float64 (mut f64) (f64.const 2.5))

  ;; 1024: records, 1032: sum of timestamps, 1040: a tick of the state's page. Results begin at 2048, texts at 4096.
  (data (i32.const 4096) "in@keyoutno such configurationpoisonlate")
  ;; A page of its own that the first call clears: a restore must not bring it back.
  (data (i32.const 8192) "seeded01")

  (func $realloc (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get $size)))
    (block $fits
      (loop $more
        (br_if $fits (i32.le_u (global.get $heap) (i32.shl (memory.size) (i32.const 16))))
        (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
        (br $more)))
    (local.get $at))

  (func $clear (memory.fill (i32.const 2048) (i32.const 0) (i32.const 1024)))
  (func $free (global.set $heap (i32.const 65536)))

  ;; An error with a text at 4096 + offset, in the layout whose payload begins at `payload`.
  (func $error (param $payload i32) (param $offset i32) (param $len i32) (result i32)
    (call $clear)
    (i32.store8 (i32.const 2048) (i32.const 1))
    (i32.store (i32.add (i32.const 2048) (local.get $payload)) (i32.add (i32.const 4096) (local.get $offset)))
    (i32.store (i32.add (i32.const 2052) (local.get $payload)) (local.get $len))
    (i32.const 2048))

  (func (export "tidegate:plugin/operator@0.1.0#describe") (param $config i32) (param $len i32) (result i32)
    (if (i32.eq (i32.load8_u (local.get $config)) (i32.const 100)) (then unreachable))
    (if (i32.eq (i32.load8_u (local.get $config)) (i32.const 114))
      (then (return (call $error (i32.const 4) (i32.const 9) (i32.const 21)))))
    (call $clear)
    ;; inputs: one port at 2112, outputs: one at 2144, state-version 3
    (i32.store (i32.const 2052) (i32.const 2112))
    (i32.store (i32.const 2056) (i32.const 1))
    (i32.store (i32.const 2060) (i32.const 2144))
    (i32.store (i32.const 2064) (i32.const 1))
    (i32.store (i32.const 2068) (i32.const 3))
    ;; port "in", its columns at 2176
    (i32.store (i32.const 2112) (i32.const 4096))
    (i32.store (i32.const 2116) (i32.const 2))
    (i32.store (i32.const 2120) (i32.const 2176))
    (i32.store (i32.const 2124) (i32.const 1))
    ;; port "out"
    (i32.store (i32.const 2144) (i32.const 4102))
    (i32.store (i32.const 2148) (i32.const 3))
    ;; column "@key" as bytes
    (i32.store (i32.const 2176) (i32.const 4098))
    (i32.store (i32.const 2180) (i32.const 4))
    (i32.const 2048))

  (func (export "tidegate:plugin/operator@0.1.0#open")
    (param $config i32) (param $len i32) (param i32 i32) (param i32 i32) (param $shard i32) (param i32) (param $seed i64) (param i32 i32)
    (result i32)
    (global.set $mode (i32.load8_u (local.get $config)))
    (if (i32.eq (global.get $mode) (i32.const 111)) (then unreachable))
    (if (i32.eq (global.get $mode) (i32.const 120))
      (then (return (call $error (i32.const 4) (i32.const 9) (i32.const 21)))))
    (i64.store (i32.const 1048) (local.get $seed))
    (call $clear)
    (call $free)
    (i32.const 2048))

  (func $recurse (param i64) (result i64)
    (i64.add (i64.const 1) (call $recurse (i64.mul (local.get 0) (i64.const 3)))))

  (func $bomb
    (loop $more
      (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
    unreachable)

  (func $process (export "tidegate:plugin/operator@0.1.0#process") (param $in i32) (result i32)
    (local $mode i32) (local $rows i32) (local $at i32) (local $end i32) (local $sum i64)
    (local.set $mode (global.get $mode))
    (if (i32.eq (local.get $mode) (i32.const 116)) (then unreachable))
    (if (i32.eq (local.get $mode) (i32.const 108)) (then (loop $forever (br $forever))))
    (if (i32.eq (local.get $mode) (i32.const 98)) (then (call $bomb)))
    (if (i32.eq (local.get $mode) (i32.const 115)) (then (drop (call $recurse (i64.const 1)))))
    (if (i32.eq (local.get $mode) (i32.const 101))
      (then (return (call $error (i32.const 8) (i32.const 30) (i32.const 6)))))
    (local.set $rows (i32.load offset=16 (local.get $in)))
    (local.set $at (i32.load offset=76 (local.get $in)))
    (local.set $end (i32.add (local.get $at) (i32.shl (local.get $rows) (i32.const 3))))
    (local.set $sum (i64.load (i32.const 1032)))
    (block $done
      (loop $next
        (br_if $done (i32.eq (local.get $at) (local.get $end)))
        (local.set $sum (i64.add (local.get $sum) (i64.load (local.get $at))))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (br $next)))
    (i64.store (i32.const 1032) (local.get $sum))
    (i64.store (i32.const 1024) (i64.add (i64.load (i32.const 1024)) (i64.extend_i32_u (local.get $rows))))
    (global.set $calls (i64.add (global.get $calls) (i64.const 1)))
    ;; A batch of 13 is a trap in the middle of the work.
    (if (i32.eq (local.get $rows) (i32.const 13)) (then unreachable))
    (call $clear)
    (if (i32.eq (local.get $mode) (i32.const 112)) (then (return (i32.const 2048))))
    (global.set $float32 (f32.mul (global.get $float32) (f32.const 1.25)))
    (global.set $float64 (f64.mul (global.get $float64) (f64.const 1.25)))
    (if (i32.eq (local.get $mode) (i32.const 107))
      (then
        (call $count (i32.const 4132) (i32.const 4) (i64.extend_i32_u (local.get $rows)))
        (call $log (i32.const 1) (i32.const 4126) (i32.const 6))))
    (if (i32.eq (local.get $mode) (i32.const 102))
      (then
        ;; forward row 0, reject row 1
        (i32.store (i32.const 2056) (i32.const 2112))
        (i32.store (i32.const 2060) (i32.const 1))
        (i32.store (i32.const 2116) (i32.const 2304))
        (i32.store (i32.const 2120) (i32.const 1))
        (i32.store (i32.const 2072) (i32.const 2128))
        (i32.store (i32.const 2076) (i32.const 1))
        (i32.store (i32.const 2128) (i32.const 1))
        (i32.store (i32.const 2132) (i32.const 4132))
        (i32.store (i32.const 2136) (i32.const 4))
        (i32.store (i32.const 2140) (i32.const 4126))
        (i32.store (i32.const 2144) (i32.const 6))
        (return (i32.const 2048))))
    (call $emit (i64.load offset=8 (local.get $in))))

  ;; One record for port 0: records, sum, calls, seed, the seeded page, the floats; a page of its own for each call.
  (func $emit (param $time i64) (result i32)
    (local $page i32) (local $need i32)
    (local.set $page (i32.add (i32.const 1048576) (i32.shl (i32.wrap_i64 (global.get $calls)) (i32.const 12))))
    (local.set $need (i32.shr_u (i32.add (local.get $page) (i32.const 69632)) (i32.const 16)))
    (if (i32.gt_u (local.get $need) (memory.size))
      (then
        (if (i32.eq (memory.grow (i32.sub (local.get $need) (memory.size))) (i32.const -1)) (then unreachable))))
    (i64.store (local.get $page) (i64.load (i32.const 1032)))
    (i64.store (i32.const 2560) (i64.load (i32.const 1024)))
    (i64.store (i32.const 2568) (i64.load (i32.const 1032)))
    (i64.store (i32.const 2576) (global.get $calls))
    (i64.store (i32.const 2584) (i64.load (i32.const 1048)))
    (i64.store (i32.const 2592) (i64.load (i32.const 8192)))
    (f32.store (i32.const 2600) (global.get $float32))
    (f64.store (i32.const 2608) (global.get $float64))
    (i64.store (i32.const 8192) (i64.const 0))
    ;; outputs: one port batch at 2112
    (i32.store (i32.const 2064) (i32.const 2112))
    (i32.store (i32.const 2068) (i32.const 1))
    (if (i32.eq (global.get $mode) (i32.const 110)) (then (i32.store (i32.const 2112) (i32.const 7))))
    (i32.store (i32.const 2116) (i32.const 1))
    ;; values: arena of 56 bytes at 2560, one end at 2624
    (i32.store8 (i32.const 2148) (i32.const 1))
    (i32.store (i32.const 2152) (i32.const 2560))
    (i32.store (i32.const 2156) (i32.const 56))
    (i32.store (i32.const 2160) (i32.const 2624))
    (i32.store (i32.const 2164) (i32.const 1))
    (i32.store (i32.const 2624) (i32.const 56))
    ;; timestamps: one at 2632
    (i32.store (i32.const 2176) (i32.const 2632))
    (i32.store (i32.const 2180) (i32.const 1))
    (i64.store (i32.const 2632) (local.get $time))
    (if (i32.eq (global.get $mode) (i32.const 104)) (then (call $hundred)))
    ;; next-advance: a minute later
    (i32.store8 (i32.const 2080) (i32.const 1))
    (i64.store (i32.const 2088) (i64.add (local.get $time) (i64.const 60000)))
    (i32.const 2048))

  ;; Says the same megabyte a hundred times: small in the guest, large in the host.
  (func $hundred
    (local $at i32) (local $end i32)
    (i32.store (i32.const 2152) (i32.const 0))
    (i32.store (i32.const 2156) (i32.const 1048576))
    (i32.store (i32.const 2624) (i32.const 1048576))
    (local.set $at (i32.const 131072))
    (local.set $end (i32.add (local.get $at) (i32.const 14000)))
    (i32.store (i32.const 2064) (local.get $at))
    (i32.store (i32.const 2068) (i32.const 100))
    (loop $next
      (memory.copy (local.get $at) (i32.const 2112) (i32.const 140))
      (local.set $at (i32.add (local.get $at) (i32.const 140)))
      (br_if $next (i32.lt_u (local.get $at) (local.get $end)))))

  (func (export "tidegate:plugin/operator@0.1.0#advance") (param $watermark i64) (result i32)
    (if (i32.eq (global.get $mode) (i32.const 97)) (then unreachable))
    (call $clear)
    (if (i32.eq (global.get $mode) (i32.const 103))
      (then
        (i32.store (i32.const 2056) (i32.const 2112))
        (i32.store (i32.const 2060) (i32.const 1))
        (return (i32.const 2048))))
    (call $emit (local.get $watermark)))

  (func (export "cabi_post_tidegate:plugin/operator@0.1.0#process") (param i32) (call $free))
  (func (export "cabi_post_tidegate:plugin/operator@0.1.0#advance") (param i32) (call $free))
)
