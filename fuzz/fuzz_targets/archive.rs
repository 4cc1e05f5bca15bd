#![no_main]

// A bomb is no finding as long as the disk says that it is full: here it is full early. With -handle_xfsz=0, or the
// fuzzer's own handler, set after this, takes it for one.
libfuzzer_sys::fuzz_target!(init: {
    const MOST: libc::rlimit = libc::rlimit { rlim_cur: 4 << 20, rlim_max: 4 << 20 };
    // SAFETY: a plain call with a valid pointer, before there is a second thread.
    unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &MOST) };
    // SAFETY: ignoring a signal installs no handler.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}, |data: &[u8]| pent::fuzz::archive(data));
