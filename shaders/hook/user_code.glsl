// In its place the run-time compiler puts what src/compiler/user.c makes of an app's score_mod and mask_mod.
#error "no code of an app here"
